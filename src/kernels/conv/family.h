// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/kernel.h"

namespace vitrail {

// Family conv: two-dimensional convolution, ONNX Conv, over channels-last coordinates.
//
//   inputs[0]   x, f32 [n, h, w, c], any strides (c stride 1 is fast; a network's channels-first
//               input is read in place)
//   inputs[1]   weight, f32 constant [o, c / group, kh, kw] as in ONNX, packed
//   epilogue_inputs   2 or more; operands f32 [n, oh, ow, o], strides 0 where they repeat
//   outputs[i]  f32 [n, oh, ow, o], any strides (o stride 1 is fast)
//   ints        stride_h, stride_w (1), pad_top, pad_left (0), dilation_h, dilation_w (1), group
//   (1)
//
// out[b, y, z, j] = epilogue(sum over r, q, l of weight[j, l, r, q] *
//                            x[b, y * stride_h + r * dilation_h - pad_top, z * stride_w + q *
//                            dilation_w - pad_left, l])
//
// with zero outside the image, l over the channels of j's group. The pads at the bottom and on the
// right follow from the extents of the output, and may be anything.
//
// Computed as a matrix product whose A is the image itself: a task copies the part of the image
// under its outputs, with a border of zeros where it leaves the image, and the microkernel reads
// windows of that copy (or of the image, where no border is needed). Sums as in family gemm, in the
// order (r, q, l).
extern const KernelFamily conv_family;

}  // namespace vitrail
