// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/epilogue.h"
#include "kernels/kernel.h"
#include "kernels/rows.h"

namespace vitrail {

/// depthwise: a convolution of each channel with its own window (ONNX Conv, group = channels,
/// channel multiplier 1), channels last. inputs: 0 x [n, h, w, c], f32, channel stride 1, other
/// strides arbitrary (a window of a larger buffer); 1 the weight, constant, [c, 1, kh, kw] as in
/// ONNX, packed to [kh, kw, c rounded up to 16]; then, from epilogue_inputs on, the epilogue's
/// operands [n, oh, ow, c]. A bias is such an operand with strides (0, 0, 0, 1). outputs: [n, oh,
/// ow, c], any strides; must not overlap x. ints: stride_h, stride_w (default 1), pad_top, pad_left
/// (0), dilation_h, dilation_w (1). The padding below and to the right follows from the output's
/// extents; it reads as zero. Tactic: rows, of the output, of one task.
Refusal depthwise_accepts(const Problem& problem);
std::vector<Tactic> depthwise_tactics(const BoundProblem& problem, const Machine& machine,
                                      int workers);
Launch depthwise_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                      int workers);

struct DepthwiseState {
  /// As run by: 3 x 3 windows with stride 1 or 2 in both axes and no dilation, or any.
  enum Kind : int64_t { k3x3s1, k3x3s2, kGeneral };
  int64_t kind;
  int64_t h, w, c, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
  int64_t padded;  ///< c rounded up to 16: from tap to tap of the weight
  int64_t x_n, x_h, x_w;
  int64_t inputs, outputs, first;  ///< number of operands; first epilogue input
  /// Strides n, h, w, c of every operand, inputs then outputs.
  int64_t strides[RowLoop::kMaxOperands][4];
  EpilogueCode epilogue;
  int64_t bias;    ///< operand added to the sums before they are stored directly, or -1
  int64_t direct;  ///< sums go straight to the output
  int64_t rows_per_task, tasks_per_image;
  int64_t chunk;  ///< pixels of a tile that goes through the epilogue
  int64_t ld;     ///< floats from pixel to pixel of that tile
};

}  // namespace vitrail
