// SPDX-License-Identifier: Apache-2.0
#include "import/weights.h"

#include "base/sniff.h"
#include "import/pytorch_legacy.h"
#include "import/pytorch_zip.h"
#include "import/safetensors.h"

namespace vitrail {
namespace {
bool is_safetensors(Bytes bytes) { return bytes.size() > 8 && bytes[8] == std::byte{'{'}; }
}  // namespace

WeightFile::WeightFile(std::string path, std::string format, NamedTensors tensors)
    : path_(std::move(path)), format_(std::move(format)), tensors_(std::move(tensors)) {
  for (size_t i = 0; i < tensors_.size(); ++i)
    require(index_.emplace(tensors_[i].first, i).second, Code::bad_input,
            "'{}': tensor '{}' appears twice", printable(path_), printable(tensors_[i].first));
}

const Tensor* WeightFile::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second].second;
}

WeightFile load_weights(const std::string& path) {
  const auto file = MappedFile::open(path);
  const SharedBytes shared{file->bytes(), file};
  const std::string_view text = as_text(shared.bytes);
  const std::string name = "'" + printable(path) + "'";
  if (text.starts_with("PK")) {
    const Archive archive(shared, name);
    if (is_pytorch_zip(archive)) return {path, "PyTorch checkpoint", read_pytorch_zip(archive)};
    return {path, "numpy archive", read_npz(archive)};
  }
  if (is_safetensors(shared.bytes))
    return {path, "safetensors", read_safetensors(shared, name).tensors};
  if (is_pytorch_legacy(shared.bytes))
    return {path, "PyTorch checkpoint", read_pytorch_legacy(shared, name)};
  fail(Code::bad_input, "{}: expected weights (.npz, .safetensors, PyTorch .pth or .pt), found {}",
       name, content_kind(shared.bytes));
}

}  // namespace vitrail
