// SPDX-License-Identifier: Apache-2.0
#include "vitrail/tensor_file.h"

#include "import/npy.h"
#include "import/weights.h"

namespace vitrail {

NamedTensors read_tensors(const std::string& path) {
  constexpr std::string_view kNpy = "\x93NUMPY";
  if (as_text(MappedFile::open(path)->bytes()).starts_with(kNpy)) return {{"data", load_npy(path)}};
  return load_weights(path).tensors();
}

void write_tensors(const std::string& path, const NamedTensors& tensors) {
  if (path.ends_with(".npy")) {
    require(tensors.size() == 1, Code::usage,
            "'{}' holds one tensor, {} are to be written; use .npz", printable(path),
            tensors.size());
    return save_npy(path, tensors[0].second);
  }
  require(path.ends_with(".npz"), Code::usage, "'{}': tensors are written as .npz or .npy",
          printable(path));
  save_npz(path, tensors);
}

}  // namespace vitrail
