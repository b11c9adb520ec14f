// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "vitrail/tensor.h"

namespace vitrail::cli {

/// Runs an ONNX model by ONNX Runtime's CPU provider in a Python process: `python3`, or what the
/// environment variable VITRAIL_PYTHON names. Throws Error(unsupported) where that Python or the
/// package is missing, Error(bad_input) with ONNX Runtime's own message when it refuses.
NamedTensors run_onnxruntime(const std::string& model, const NamedTensors& inputs);

}  // namespace vitrail::cli
