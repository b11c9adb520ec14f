# Helpers of the build: layers, kernel sources compiled once per ISA, tests.

# Warnings and settings of every target of ours. -ffp-contract=off: references and weight rules need
# products and sums rounded apart; kernels write their FMAs out.
function(vitrail_settings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow=local -Wno-missing-field-initializers
    -Wno-restrict  # GCC 12 warns falsely about string concatenation (its bug 105651)
    -ffp-contract=off)
  if(VITRAIL_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src
    ${PROJECT_BINARY_DIR}/generated)
endfunction()

# vitrail_layer(name SOURCES a.cc ... LINKS other ...): a static library of one folder.
function(vitrail_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(vitrail_${name} STATIC ${ARG_SOURCES})
  vitrail_settings(vitrail_${name})
  target_link_libraries(vitrail_${name} PUBLIC fmt::fmt ${ARG_LINKS})
  if(CMAKE_CURRENT_SOURCE_DIR MATCHES "^${PROJECT_SOURCE_DIR}/src/")
    set_property(GLOBAL APPEND PROPERTY VITRAIL_LAYERS vitrail_${name})  # what is installed, see install.cmake
  endif()
endfunction()

# vitrail_test(name [SLOW] SOURCES ... LINKS layers ...): a GoogleTest executable known to ctest, run in the source
# folder. SLOW: only in `./dev test --all`.
function(vitrail_test name)
  if(NOT VITRAIL_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "SLOW" "" "SOURCES;LINKS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${ARG_SOURCES})
  vitrail_settings(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} GTest::gtest_main GTest::gmock Threads::Threads)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(ARG_SLOW)
    set_tests_properties(${name} PROPERTIES LABELS slow)
  endif()
endfunction()
