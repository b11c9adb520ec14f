// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "base/file.h"

namespace vitrail {

/// What a file that is *not* an ONNX model looks like, in words for a message ("a JPEG image",
/// "a TensorRT engine"), with advice where there is some; empty when nothing is recognised.
std::string recognise_foreign_file(Bytes head);

}  // namespace vitrail
