// SPDX-License-Identifier: Apache-2.0
#include "vitrail/tensor_file.h"

#include "import/npy.h"
#include "import/weights.h"

namespace vitrail {
namespace {
FileTensor to_file_tensor(const std::string& name, const Tensor& tensor) {
  return {name,         tensor.dtype(), tensor.dims(),
          tensor.raw(), tensor.bytes(), std::make_shared<Tensor>(tensor)};
}
Tensor to_tensor(const FileTensor& tensor) {
  return tensor_over(tensor.dtype, tensor.dims,
                     {{static_cast<const std::byte*>(tensor.data), tensor.bytes}, tensor.owner},
                     "tensor '" + printable(tensor.name) + "'");
}
}  // namespace

std::vector<FileTensor> load_tensors(const std::string& path) {
  constexpr std::string_view kNpy = "\x93NUMPY";
  const auto file = MappedFile::open(path);
  if (as_text(file->bytes()).starts_with(kNpy)) return {to_file_tensor("", load_npy(path))};
  std::vector<FileTensor> out;
  const WeightFile weights = load_weights(path);
  for (const auto& [name, tensor] : weights.tensors()) out.push_back(to_file_tensor(name, tensor));
  return out;
}

void save_npz(const std::string& path, std::span<const FileTensor> tensors) {
  NamedTensors named;
  for (const FileTensor& tensor : tensors) named.emplace_back(tensor.name, to_tensor(tensor));
  save_npz(path, named);
}

void save_npy(const std::string& path, const FileTensor& tensor) {
  save_npy(path, to_tensor(tensor));
}

}  // namespace vitrail
