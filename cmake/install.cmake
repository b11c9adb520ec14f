# What `cmake --install` leaves: the public headers, the program, and two static libraries, each one archive of the
# layers it consists of. `find_package(vitrail COMPONENTS runtime)` gives vitrail::runtime, which runs plans;
# COMPONENTS compiler gives vitrail::compiler too, which makes them.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# vitrail_closure(objects links layer ..): objects of the layers and of all targets of ours that they link, and the
# targets of others that those need.
function(vitrail_closure objects_out links_out)
  set(queue ${ARGN})
  set(seen "")
  set(objects "")
  set(links "")
  while(queue)
    list(POP_FRONT queue target)
    if(target IN_LIST seen)
      continue()
    endif()
    list(APPEND seen ${target})
    if(NOT target MATCHES "^vitrail_")
      list(APPEND links ${target})
      continue()
    endif()
    get_target_property(kind ${target} TYPE)
    if(NOT kind STREQUAL INTERFACE_LIBRARY)
      list(APPEND objects $<TARGET_OBJECTS:${target}>)
      # Objects of another target among the sources (kernels compiled per ISA) are not its own objects.
      get_target_property(sources ${target} SOURCES)
      list(FILTER sources INCLUDE REGEX "^\\$<TARGET_OBJECTS:")
      list(APPEND objects ${sources})
    endif()
    foreach(property LINK_LIBRARIES INTERFACE_LINK_LIBRARIES)
      get_target_property(linked ${target} ${property})
      if(linked)
        list(TRANSFORM linked REPLACE "^\\$<LINK_ONLY:(.*)>$" "\\1")
        list(APPEND queue ${linked})
      endif()
    endforeach()
  endwhile()
  set(${objects_out} "${objects}" PARENT_SCOPE)
  set(${links_out} "${links}" PARENT_SCOPE)
endfunction()

# Packages that define the targets: fmt::fmt comes from find_package(fmt).
function(vitrail_packages out)
  set(packages "")
  foreach(link ${ARGN})
    if(link MATCHES "^([A-Za-z0-9_]+)::")
      list(APPEND packages ${CMAKE_MATCH_1})
    endif()
  endforeach()
  list(TRANSFORM packages REPLACE "^protobuf$" "Protobuf")
  list(REMOVE_DUPLICATES packages)
  set(${out} "${packages}" PARENT_SCOPE)
endfunction()

# Layers of the runtime; every other layer of src/ belongs to the compiler. Test helpers belong to neither, and the zoo
# is part of the program.
set(runtime_layers vitrail_base vitrail_ops vitrail_plan vitrail_nvtx vitrail_cpu vitrail_cuda vitrail_kernels vitrail_runtime)
set(test_layers vitrail_kernel_trial)
get_property(compiler_layers GLOBAL PROPERTY VITRAIL_LAYERS)
list(REMOVE_ITEM compiler_layers ${runtime_layers} ${test_layers})

vitrail_closure(runtime_objects runtime_links ${runtime_layers})
vitrail_closure(compiler_objects compiler_links ${compiler_layers})
list(REMOVE_ITEM compiler_objects ${runtime_objects})
list(REMOVE_ITEM compiler_links ${runtime_links})
vitrail_packages(runtime_packages ${runtime_links})
vitrail_packages(compiler_packages ${compiler_links})
foreach(package ${runtime_packages} ${compiler_packages})
  find_package(${package} REQUIRED)  # their targets are only known in the folders that looked for them
endforeach()

foreach(name runtime compiler)
  add_library(vitrail_lib${name} STATIC ${${name}_objects})
  add_library(vitrail::${name} ALIAS vitrail_lib${name})
  set_target_properties(vitrail_lib${name} PROPERTIES OUTPUT_NAME vitrail_${name} EXPORT_NAME ${name}
    LINKER_LANGUAGE CXX ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
  target_compile_features(vitrail_lib${name} INTERFACE cxx_std_20)
  target_include_directories(vitrail_lib${name} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(vitrail_lib${name} PRIVATE ${${name}_links})
  install(TARGETS vitrail_lib${name} EXPORT vitrail_${name} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT vitrail_${name} NAMESPACE vitrail:: FILE vitrail-${name}.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vitrail)
endforeach()
target_link_libraries(vitrail_libcompiler PUBLIC vitrail_libruntime)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/vitrail-config.cmake.in ${PROJECT_BINARY_DIR}/vitrail-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vitrail)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vitrail-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vitrail-config.cmake ${PROJECT_BINARY_DIR}/vitrail-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vitrail)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/vitrail DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(TARGET vitrail)
  install(TARGETS vitrail RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
