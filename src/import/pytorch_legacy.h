// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "import/npz.h"

namespace vitrail {

/// Whether this is a file of torch.save before PyTorch 1.6, which many published weights still are.
bool is_pytorch_legacy(Bytes file);

/// Its state dict, by the rules of read_pytorch_zip. The file is five pickles (a magic number, a
/// version, facts on the machine, the object, the list of storage keys), then for each key eight
/// bytes of length and the elements.
NamedTensors read_pytorch_legacy(const SharedBytes& file, const std::string& name);

}  // namespace vitrail
