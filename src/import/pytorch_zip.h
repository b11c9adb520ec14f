// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "import/archive.h"
#include "import/npz.h"

namespace vitrail {

/// Whether the archive is one of torch.save (it holds a data.pkl) or TorchScript.
bool is_pytorch_zip(const Archive& archive);

/// The tensors of a state dict saved by torch.save (PyTorch 1.6 and later), also one level down
/// under "state_dict", "model_state_dict", "model", "module", "ema" or "params", in the dict's
/// order. Entries that are no tensors are left out. Names are kept as they are.
///
/// The pickle inside is interpreted by a reader that builds containers and tensors and nothing
/// else: no code is looked up or run, and a file that names any other Python object is refused with
/// Error(bad_input) and that object's name. Contiguous tensors point into the file, others are
/// copied (their copies limited to 64 MiB and the size of the file together). Throws
/// Error(unsupported) for TorchScript archives, big-endian files, complex and quantized tensors.
NamedTensors read_pytorch_zip(const Archive& archive);

}  // namespace vitrail
