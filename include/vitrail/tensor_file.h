// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "vitrail/error.h"
#include "vitrail/tensor.h"

namespace vitrail {

/// The tensors of a .npz, .npy, .safetensors or PyTorch file (.pth, .pt: state dicts only, see
/// docs/errors.md), told apart by content, in the file's order; the one of an .npy is named "data".
/// They point into the mapped file where its layout allows. Throws Error(io), Error(bad_input) for
/// damage or another kind of file (naming the kind), Error(unsupported) for element types and
/// variants that are not read.
NamedTensors read_tensors(const std::string& path);

/// .npz, or .npy for one tensor, by the name's end. Written completely or not at all; the same
/// bytes for the same tensors. Throws Error(usage) for another end, Error(io), and
/// Error(unsupported) for element types that numpy lacks (bf16).
void write_tensors(const std::string& path, const NamedTensors& tensors);

}  // namespace vitrail
