// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/tensor.h"

namespace onnx {
class TensorProto;
class SparseTensorProto;
}  // namespace onnx

namespace vitrail {

/// ONNX's TensorProto.DataType as an element type; nothing for those that have no DType.
std::optional<DType> dtype_from_onnx(int type);
/// The inverse.
int dtype_to_onnx(DType dtype);
/// ONNX's name of an element type ("FLOAT8E4M3FN"), for messages.
std::string onnx_type_name(int type);

/// Reads tensors out of a model, and out of the files beside it that the model names.
class TensorReader {
 public:
  /// `folder`: where external data lies; empty when the model came from memory, which has none.
  explicit TensorReader(std::string folder) : folder_(std::move(folder)) {}

  /// Takes the data out of `proto`, so that a large model is not held twice; external data stays in
  /// the mapped file where its alignment allows. Throws Error(bad_input) when sizes, types or
  /// places contradict each other, Error(unsupported) for element types without DType.
  Tensor read(onnx::TensorProto& proto);
  /// The dense form; refused above kLargestDense bytes, since a few bytes of file can ask for any
  /// size.
  Tensor read_sparse(onnx::SparseTensorProto& proto);

  static constexpr int64_t kLargestDense = 64 << 20;

 private:
  Tensor read_external(const onnx::TensorProto& proto, DType dtype, Dims dims);

  std::string folder_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
};

}  // namespace vitrail
