// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

// Family conv_transpose: ONNX ConvTranspose in two dimensions, over channels-last coordinates.
//
//   inputs[0]   x, f32 [n, h, w, c], any strides (c stride 1 is fast)
//   inputs[1]   weight, f32 constant [c, o / group, kh, kw] as in ONNX, packed
//   epilogue_inputs   2 or more; operands f32 [n, oh, ow, o], strides 0 where they repeat
//   outputs[i]  f32 [n, oh, ow, o], any strides (o stride 1 is fast)
//   ints        stride_h, stride_w (1), pad_top, pad_left (0), dilation_h, dilation_w (1), group
//   (1)
//
// out[b, y, z, j] = epilogue(sum of weight[l, j, r, q] * x[b, u, v, l] over all r, q, l with
//                            u * stride_h + r * dilation_h = y + pad_top and likewise for z)
//
// Pads at the bottom and on the right and output padding follow from the extents of the output.
//
// Outputs with equal y mod stride_h and z mod stride_w use the same taps: each such phase is an
// ordinary convolution of stride 1 (kernel 2, stride 2: four matrix products) that writes every
// stride-th output, and runs through the body of family conv. Nothing is scattered or summed in
// memory.
extern const KernelFamily conv_transpose_family;

}  // namespace vitrail
