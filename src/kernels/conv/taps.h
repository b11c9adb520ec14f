// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

/// The integers of a convolution problem, with their defaults.
struct ConvInts {
  explicit ConvInts(const Problem& p)
      : stride_h(p.integer("stride_h", 1)),
        stride_w(p.integer("stride_w", 1)),
        pad_top(p.integer("pad_top", 0)),
        pad_left(p.integer("pad_left", 0)),
        dilation_h(p.integer("dilation_h", 1)),
        dilation_w(p.integer("dilation_w", 1)),
        group(p.integer("group", 1)) {}
  int64_t stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, group;
};

}  // namespace vitrail
