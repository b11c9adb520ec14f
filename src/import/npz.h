// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "import/archive.h"

namespace vitrail {

/// The arrays of a numpy archive (np.savez, np.savez_compressed), in the file's order and without
/// the ".npy" of their names. Stored arrays point into the file. Throws as Archive and parse_npy
/// do.
NamedTensors read_npz(const Archive& archive);
NamedTensors load_npz(const std::string& path);

/// Writes what np.load reads: stored, not compressed; the same bytes for the same tensors.
void save_npz(const std::string& path, const NamedTensors& tensors);

}  // namespace vitrail
