// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>

#include "import/npz.h"
#include "import/pickle.h"

namespace vitrail {

/// Whether a pickle that holds a state dict may name this global: what rebuilds tensors, and a few
/// harmless things that training scripts put beside the weights and that are never made. Throws
/// Error(unsupported) for kinds of tensors that are known but not read.
bool state_dict_global(std::string_view global);

/// What a pickle says of the memory of a tensor.
struct StorageReference {
  std::string key;
  DType dtype = DType::f32;
  int64_t elements = 0;
};
/// Of a value of kind persistent; throws Error(bad_input) naming `where`.
StorageReference storage_reference(const PickleDocument& document, const PickleValue& value,
                                   const std::string& where);

/// Finds the bytes of a storage; throws Error(bad_input) naming `where` when there are none.
using StorageSource = std::function<SharedBytes(const std::string& key, const std::string& where)>;

/// The tensors of the state dict in a pickle, as read_pytorch_zip describes. Copies of tensors that
/// are not contiguous may take 64 MiB and `file_size` together.
NamedTensors read_state_dict(const PickleDocument& document, const std::string& name,
                             const StorageSource& source, uint64_t file_size);

}  // namespace vitrail
