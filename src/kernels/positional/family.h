// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

// Family positional: pixels times a matrix of each image, and a positional branch of two depthwise
// convolutions beside it: the second half of MST++'s spectral attention. What lies between stays in
// cache; the values v = x Wv are never stored.
//
//   inputs[0]   x, f32 [n, h, w, c], c stride 1
//   inputs[1]   Wv, f32 constant [c, e], packed
//   inputs[2]   first depthwise weight, f32 constant [e, 1, 3, 3] as in ONNX, packed
//   inputs[3]   b1, f32 [e], dense; zeros where the model has none
//   inputs[4]   second depthwise weight, as the first
//   inputs[5]   b2, f32 [e], dense
//   inputs[6]   M, f32 [n, c, e], e stride 1
//   epilogue_inputs   7 or more; operands f32 [n, h, w, e], strides 0 where they repeat
//   outputs[i]  f32 [n, h, w, e], any strides (e stride 1 is fast); must not overlap x
//   ints        activation (none): static_cast<int>(Pointwise::gelu, swish or relu)
//   floats      imm (1): of the activation
//
//   middle = activation(depthwise(x Wv) + b1), windows 3 x 3, stride 1, one pixel of zeros around
//   out    = epilogue(depthwise(middle) + b2 + x M)
//
// A task makes a block of outputs row by row; the three rows of x Wv and of `middle` under its
// current row lie in rings. What neighbouring blocks share is computed in each: some 10 % at 64 x
// 128. Sums as in family gemm; the depthwise sums in the order of rows and columns.
extern const KernelFamily positional_family;

}  // namespace vitrail
