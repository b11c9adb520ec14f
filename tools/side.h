// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "vitrail/builder.h"
#include "vitrail/rounding.h"
#include "vitrail/tensor.h"

// What `compare` sets side by side.
namespace vitrail::cli {

struct Side {
  enum class Kind : uint8_t { plan, reference, onnxruntime, outputs } kind = Kind::plan;
  std::string path, name;              ///< name: as shown
  DType precision = DType::f32;        ///< of the reference
  Rounding rounding = Rounding::none;  ///< of the reference: a yardstick, not a result
};

/// "model.vitrail", "model.onnx" (by the reference), "onnxruntime:model.onnx", "outputs.npz",
/// "fp16:FILE" (by the reference, rounded; "bf16:" and "tf32:" likewise; FILE a model or a plan
/// that keeps its model). With `runtime` ONNX files are run by ONNX Runtime, too.
Side parse_side(const std::string& text, bool runtime, DType precision);

/// Random inputs as the first plan or model among the sides declares them, at `shapes` where given.
/// Throws Error(usage) for a dynamic extent without one.
NamedTensors random_inputs(const std::vector<Side>& sides,
                           const std::map<std::string, ShapeRange>& shapes, uint64_t seed);

/// The model of a reference side: the ONNX file, or what a plan keeps of the model it was built
/// from.
Graph model_of(const Side& side);

/// Throws what loading and running throw; Error(unsupported) where Python lacks ONNX Runtime.
NamedTensors outputs_of(const Side& side, const NamedTensors& inputs, int threads);

}  // namespace vitrail::cli
