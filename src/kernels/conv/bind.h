// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/epilogue.h"
#include "kernels/kernel.h"

namespace vitrail {

// Planning shared by conv and conv_transpose. Outputs are cut into phases, each a convolution over
// a grid of taps: output (phase.out + q * out_step) reads the image at (q * in_step + tap). A
// convolution has one phase, a transposed one stride_h * stride_w.

/// The taps of one phase: all pairs of a row and a column, each with its place in the kernel window
/// and its offset in the image, offsets ascending.
struct TapGrid {
  struct Tap {
    int64_t kernel, offset;
  };
  int64_t out_h = 0, out_w = 0;
  std::vector<Tap> rows, cols;
  int64_t count() const { return static_cast<int64_t>(rows.size() * cols.size()); }
};
/// Phases in the order in which they are packed. Weight is input 1: [.., .., kh, kw].
std::vector<TapGrid> tap_grids(const Problem& problem, bool transposed);

/// Weight (ONNX's layout of the family) to [phase][group][panel of 16 outputs][taps * c /
/// group][16].
Tensor pack_taps(const Problem& problem, bool transposed, const Tensor& weight);
/// Floats of the packed weight.
int64_t packed_taps(const Problem& problem, bool transposed);

struct ConvPhase {
  int64_t out_h, out_w;             ///< first output
  int64_t q_h, q_w;                 ///< number of outputs along each axis
  int64_t in_h, in_w;               ///< place in the image of the first tap of the first output
  int64_t span_h, span_w;           ///< last tap minus first tap
  int64_t segments, length, flush;  ///< RowsA
  int64_t offsets;  ///< word of the state where the segments' starts in a patch lie; those
                    ///< in the image follow
  int64_t b, b_group, panel;  ///< packed weight: floats before this phase, of a group, of a panel
};

/// Strides of an operand or output.
struct ConvStrides {
  int64_t n, h, w, c;
};

/// What run() needs, inside Launch::state; phases follow, then the starts of segments.
struct ConvState {
  int64_t phases, groups;
  int64_t h, w, group_c, group_o;
  ConvStrides x;
  int64_t in_step_h, in_step_w, out_step_h, out_step_w;
  int64_t block_h, block_w, block_o;     ///< outputs of a phase that a task makes
  int64_t blocks_h, blocks_w, blocks_o;  ///< of the largest phase; others skip
  int64_t in_place;                      ///< 1: windows inside the image are read where they are
  int64_t patch_w;                       ///< columns of the copy of the image
  int64_t patch_at;                      ///< floats of scratch before it
  int64_t epilogue_inputs;
  ConvStrides operand[EpilogueCode::kMaxOperands], output[EpilogueCode::kMaxResults];
  EpilogueCode epilogue;
};
constexpr int64_t kConvStateWords = (sizeof(ConvState) + 7) / 8;
constexpr int64_t kConvPhaseWords = (sizeof(ConvPhase) + 7) / 8;

// The same for every instruction set.
Refusal conv_accepts(const Problem& problem);
std::vector<Tactic> conv_tactics(const BoundProblem& problem, const Machine& machine, int workers);
Launch conv_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                 int workers);
Refusal conv_transpose_accepts(const Problem& problem);
std::vector<Tactic> conv_transpose_tactics(const BoundProblem& problem, const Machine& machine,
                                           int workers);
Launch conv_transpose_bind(const BoundProblem& problem, const Tactic& tactic,
                           const Machine& machine, int workers);

/// Number of products in the longest sum of an output.
int64_t conv_depth(const Problem& problem, bool transposed);
double conv_tolerance(const Problem& problem, bool transposed);
double conv_flop(const BoundProblem& problem, bool transposed);

}  // namespace vitrail
