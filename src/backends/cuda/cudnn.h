// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <vector>

#include "backends/cuda/library.h"

namespace vitrail::cuda {

// Operation "convolution": y = conv(x, w) + bias + residual on [n, h, w, channels], the weight
// [o, kh, kw, channels]. Everything is summed in float32 and rounded once. Its numbers:
//
//   n, h, w, c, o, kh, kw, oh, ow: extents
//   x, weight, y, bias, residual: which address each is; bias, residual: -1 when there is none
//   weight_offset: bytes from that address to the weight
//   type: of x and weight; y_type: of y, bias and residual (DType's values)
//   x_n, x_h, x_w, x_c, y_.., r_..: strides of x, y and the residual, in elements
//   align_x, align_y, align_bias, align_residual: bytes that addresses are multiples of
//   stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w
//   tf32: 1: float32 factors may be rounded to TF32
//   workspace, workspace_at: bytes at which address, from its start
//   engine, knob0, knob1, ..: the engine and its settings as cuDNN counts them; no engine: the
//     library's first at the bound extents, as it is when the one named does not fit them

const GpuLibrary& cudnn_library();
std::unique_ptr<LibraryOperation> prepare_cudnn(const std::shared_ptr<Device>& device,
                                                const LibraryCall& call, const Bindings& numbers,
                                                size_t operands);

/// Engines for a convolution (numbers as above, those of the engine and "workspace" left out), best
/// guess first, as the numbers that name them and the "workspace" each wants; at most `count`.
/// None: the library has none.
std::vector<Tactic> cudnn_tactics(const std::shared_ptr<Device>& device, const Bindings& numbers,
                                  int count);

}  // namespace vitrail::cuda
