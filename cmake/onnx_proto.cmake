# vitrail_onnx_proto: ONNX's protobuf classes, generated at build time from the `onnx-ml.proto` that
# the PyPI package `onnx` carries. The file is never part of this repository.
set(VITRAIL_ONNX_PROTO "$ENV{VITRAIL_ONNX_PROTO}" CACHE FILEPATH
  "onnx-ml.proto of the PyPI package onnx (empty: look in .venv)")
set(proto "${VITRAIL_ONNX_PROTO}")
if(NOT proto)
  file(GLOB found "${PROJECT_SOURCE_DIR}/.venv/lib/python*/site-packages/onnx/onnx-ml.proto")
  if(found)
    list(GET found 0 proto)
  endif()
endif()
if(NOT proto OR NOT EXISTS "${proto}")
  message(FATAL_ERROR "onnx-ml.proto not found (looked for '${proto}' and in .venv): run `./dev setup`, which "
    "installs the Python package that carries it into .venv, or pass -DVITRAIL_ONNX_PROTO=/path/to/onnx-ml.proto "
    "or set VITRAIL_ONNX_PROTO in the environment.")
endif()
find_package(Protobuf REQUIRED)

set(generated "${PROJECT_BINARY_DIR}/generated/onnx")
file(READ "${proto}" text)
# Lite: no descriptors, hence nothing registered that could clash with another copy of ONNX in the
# same process.
string(REGEX REPLACE "\noption optimize_for[^;]*;" "" text "${text}")
file(CONFIGURE OUTPUT "${generated}/onnx-ml.proto" CONTENT "@text@\noption optimize_for = LITE_RUNTIME;\n" @ONLY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${proto}")

add_custom_command(
  OUTPUT "${generated}/onnx-ml.pb.cc" "${generated}/onnx-ml.pb.h"
  COMMAND protobuf::protoc --proto_path=${generated} --cpp_out=${generated} ${generated}/onnx-ml.proto
  DEPENDS "${generated}/onnx-ml.proto"
  COMMENT "Generating the ONNX protobuf classes")
add_library(vitrail_onnx_proto STATIC "${generated}/onnx-ml.pb.cc")
target_include_directories(vitrail_onnx_proto SYSTEM PUBLIC "${PROJECT_BINARY_DIR}/generated")
target_link_libraries(vitrail_onnx_proto PUBLIC protobuf::libprotobuf-lite)
# Without this, users of the header could be compiled before it is generated.
add_custom_target(vitrail_onnx_proto_header DEPENDS "${generated}/onnx-ml.pb.h")
add_dependencies(vitrail_onnx_proto vitrail_onnx_proto_header)
