// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

// Family inverted: expansion by a 1x1 convolution, a depthwise convolution, projection by a 1x1
// convolution, each of the first two with an activation: MST++'s feed-forward, the inverted
// residual block of MobileNetV2 and MobileViT. The wide tensors between stay in cache.
//
//   inputs[0]   x, f32 [n, h, w, c], c stride 1
//   inputs[1]   W1, f32 constant [c, e], packed
//   inputs[2]   b1, f32 [e], dense; zeros where the model has none
//   inputs[3]   depthwise weight, f32 constant [e, 1, kh, kw] as in ONNX, packed
//   inputs[4]   b2, f32 [e], dense
//   inputs[5]   W2, f32 constant [e, o], packed
//   epilogue_inputs   6 or more; operands f32 [n, oh, ow, o], strides 0 where they repeat
//   outputs[i]  f32 [n, oh, ow, o], any strides (o stride 1 is fast)
//   ints        stride_h, stride_w (1), pad_top, pad_left (0);
//               activation1, activation2 (none): static_cast<int>(Pointwise::gelu, swish or relu)
//               normalize (0): 1 takes each pixel's mean off and divides by its deviation first, a
//               layer norm over c whose scale and shift have been folded into W1 and b1
//   floats      imm1, imm2 (1): of the activations; eps (1e-5): of the normalization
//
//   hidden = activation1(norm(x) W1 + b1), and zero (not activation1(b1)) outside the image
//   out    = epilogue(activation2(depthwise(hidden) + b2) W2)
//
// A task makes a block of outputs row by row; the kh rows of `hidden` under its current row lie in
// a ring in the second-level cache. What neighbouring blocks share is computed in each: some 5 % at
// 64 x 64. Sums as in family gemm; the depthwise sum in the order of rows and columns.
extern const KernelFamily inverted_family;

}  // namespace vitrail
