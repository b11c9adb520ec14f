// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>

#include "import/npz.h"

namespace vitrail {

struct SafeTensors {
  NamedTensors tensors;  ///< in the header's order, pointing into the file
  std::map<std::string, std::string> metadata;
};

/// Hugging Face's format: eight bytes of length, a JSON header, data. All of its rules are checked:
/// header of at most 100 MB inside the file, each name once, sizes that match, data without gaps or
/// overlaps up to the end of the file. Throws Error(bad_input) otherwise and Error(unsupported) for
/// element types without a DType (the 8-bit floats and below), naming file and tensor.
SafeTensors read_safetensors(const SharedBytes& file, const std::string& name);
SafeTensors load_safetensors(const std::string& path);

/// The same bytes for the same tensors; data starts at a multiple of 64 of the file.
void save_safetensors(const std::string& path, const SafeTensors& content);

}  // namespace vitrail
