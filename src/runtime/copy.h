// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/shape.h"

namespace vitrail {

/// A window at given extents: where its element 0 lies is told apart.
struct View {
  Dims dims, strides;  ///< strides in elements
  bool dense() const;  ///< row-major without gaps
};

/// Copies every element of a window to the same position of another of equal extents. Windows that
/// overlap without being the same go through a temporary.
void copy_window(std::byte* to, const Dims& to_strides, const std::byte* from,
                 const Dims& from_strides, const Dims& dims, size_t element_bytes);

}  // namespace vitrail
