// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/bind.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/round.h"
#include "kernels/conv/taps.h"
#include "kernels/gemm/bind.h"
#include "kernels/gemm/family.h"
#include "kernels/reference.h"

namespace vitrail {
namespace {

/// Taps of the outputs that are `phase` modulo `stride`, in ascending order of their offset.
std::vector<TapGrid::Tap> taps_along(int64_t kernel, int64_t stride, int64_t pad, int64_t dilation,
                                     int64_t phase, bool transposed) {
  std::vector<TapGrid::Tap> out;
  for (int64_t k = 0; k < kernel; ++k) {
    if (!transposed) {
      out.push_back({k, k * dilation - pad});
    } else if (const int64_t at = phase + pad - k * dilation; at % stride == 0) {
      out.push_back({k, at / stride});
    }
  }
  std::sort(out.begin(), out.end(),
            [](const auto& a, const auto& b) { return a.offset < b.offset; });
  return out;
}

bool consecutive(const std::vector<TapGrid::Tap>& taps) {
  for (size_t i = 1; i < taps.size(); ++i)
    if (taps[i].offset != taps[i - 1].offset + 1) return false;
  return true;
}

int64_t dim(const Operand& operand, size_t axis) { return operand.dims[axis].constant(); }

ConvStrides strides_of(const BoundOperand& operand) {
  return {operand.strides[0], operand.strides[1], operand.strides[2], operand.strides[3]};
}

/// A row of taps is one segment where its windows are contiguous and not longer than a chunk.
bool merges(const TapGrid& grid, int64_t channels) {
  const auto wide = static_cast<int64_t>(grid.cols.size());
  return wide > 1 && consecutive(grid.cols) && wide * channels <= kGemmChunk;
}

}  // namespace

std::vector<TapGrid> tap_grids(const Problem& p, bool transposed) {
  const ConvInts ints(p);
  const int64_t kh = dim(p.inputs[1], 2), kw = dim(p.inputs[1], 3);
  std::vector<TapGrid> out;
  for (int64_t y = 0; y < (transposed ? ints.stride_h : 1); ++y)
    for (int64_t x = 0; x < (transposed ? ints.stride_w : 1); ++x)
      out.push_back({y, x,
                     taps_along(kh, ints.stride_h, ints.pad_top, ints.dilation_h, y, transposed),
                     taps_along(kw, ints.stride_w, ints.pad_left, ints.dilation_w, x, transposed)});
  return out;
}

int64_t packed_taps(const Problem& p, bool transposed) {
  const ConvInts ints(p);
  const Dims d = to_dims(p.inputs[1].dims);
  const int64_t outer = d[0] / ints.group, group_c = transposed ? outer : d[1],
                group_o = transposed ? d[1] : outer;
  int64_t total = 0;
  for (const TapGrid& grid : tap_grids(p, transposed))
    total += ints.group * grid.count() * group_c * round_up(group_o, kGemmPanel);
  return total;
}

Tensor pack_taps(const Problem& p, bool transposed, const Tensor& weight) {
  const ConvInts ints(p);
  const Dims& d = weight.dims();
  // conv: [o, c / group, kh, kw]; transposed: [c, o / group, kh, kw].
  const int64_t inner = d[1], outer = d[0] / ints.group, kh = d[2], kw = d[3];
  const int64_t group_c = transposed ? outer : inner, group_o = transposed ? inner : outer;
  const std::vector<TapGrid> grids = tap_grids(p, transposed);
  Tensor out(DType::f32, {packed_taps(p, transposed)});
  float* to = out.mutable_data<float>();
  const float* from = weight.data<float>();
  for (const TapGrid& grid : grids)
    for (int64_t g = 0; g < ints.group; ++g)
      for (int64_t panel = 0; panel < group_o; panel += kGemmPanel)
        for (const auto& row : grid.rows)
          for (const auto& col : grid.cols)
            for (int64_t c = 0; c < group_c; ++c)
              for (int64_t j = panel; j < panel + kGemmPanel; ++j, ++to) {
                const int64_t first = g * outer + (transposed ? c : j), second = transposed ? j : c;
                *to = j < group_o
                          ? from[((first * inner + second) * kh + row.kernel) * kw + col.kernel]
                          : 0.0f;
              }
  return out;
}

static Refusal accepts_any(const Problem& p, bool transposed) {
  if (p.inputs.size() < 2 || p.outputs.empty())
    return "a convolution needs x, a weight and an output";
  if (p.epilogue_inputs < 2) return "epilogue operands start at input 2";
  if (Refusal why = check_epilogue(p); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(p.epilogue); !why.empty()) return why;
  const Operand &x = p.inputs[0], &weight = p.inputs[1], &out = p.outputs[0];
  if (x.dims.size() != 4 || out.dims.size() != 4)
    return fmt::format("x is {} and the output {}, both must be [n, h, w, c]", to_string(x.dims),
                       to_string(out.dims));
  if (x.dtype != DType::f32 || weight.dtype != DType::f32)
    return fmt::format("x is {} and the weight {}, both must be f32", name_of(x.dtype),
                       name_of(weight.dtype));
  if (x.constant) return "x is a constant";
  if (!weight.constant || weight.dims.size() != 4 || !is_static(weight.dims))
    return fmt::format("the weight is {}{}, not a constant of rank 4",
                       weight.constant ? "" : "variable ", to_string(weight.dims));
  constexpr int64_t kMaxWindow = 1024;  // each tap is listed
  if (dim(weight, 2) > kMaxWindow || dim(weight, 3) > kMaxWindow)
    return fmt::format("a window of more than {}", kMaxWindow);
  if (!x.dims[3].is_constant() || !out.dims[3].is_constant()) return "channels are not constant";
  if (x.dims[0] != out.dims[0])
    return fmt::format("x is {}, the output {}", to_string(x.dims), to_string(out.dims));
  const ConvInts ints(p);
  const int64_t c = dim(x, 3), o = dim(out, 3), g = ints.group;
  if (g < 1 || ints.stride_h < 1 || ints.stride_w < 1 || ints.dilation_h < 1 || ints.dilation_w < 1)
    return "strides, dilations and group must be at least 1";
  if (c < 1 || o < 1 || c % g != 0 || o % g != 0)
    return fmt::format("{} and {} channels in {} groups", c, o, g);
  if (dim(weight, 0) != (transposed ? c : o) || dim(weight, 1) != (transposed ? o : c) / g ||
      dim(weight, 2) < 1 || dim(weight, 3) < 1)
    return fmt::format("weight {} for {} to {} channels in {} groups", to_string(weight.dims), c, o,
                       g);
  return {};
}

int64_t conv_depth(const Problem& p, bool transposed) {
  int64_t most = 0;
  for (const TapGrid& grid : tap_grids(p, transposed)) most = std::max(most, grid.count());
  return most * dim(p.inputs[0], 3) / ConvInts(p).group;
}

double conv_tolerance(const Problem& p, bool transposed) {
  // As gemm_tolerance; a chunk is longer than kGemmChunk only where one tap has more channels.
  const int64_t channels = dim(p.inputs[0], 3) / ConvInts(p).group,
                depth = conv_depth(p, transposed);
  const double longer =
      std::sqrt(std::max(1.0, static_cast<double>(channels) / static_cast<double>(kGemmChunk)));
  return epilogue_tolerance(p, gemm_tolerance(depth) * longer);
}

double conv_flop(const BoundProblem& problem, bool transposed) {
  double taps = 0;
  const std::vector<TapGrid> grids = tap_grids(*problem.problem, transposed);
  for (const TapGrid& grid : grids)
    taps += static_cast<double>(grid.count()) / static_cast<double>(grids.size());
  const int64_t channels = problem.inputs[0].dims[3] / ConvInts(*problem.problem).group;
  return 2.0 * taps * static_cast<double>(channels) *
         static_cast<double>(element_count(problem.outputs[0].dims));
}

static Launch bind_any(const BoundProblem& problem, bool transposed, const Tactic& tactic,
                       const Machine& machine, int workers) {
  const Problem& p = *problem.problem;
  const ConvInts ints(p);
  const BoundOperand& x = problem.inputs[0];
  const Dims& out = problem.outputs[0].dims;
  const auto first = static_cast<size_t>(p.epilogue_inputs);
  const size_t operands = static_cast<size_t>(p.epilogue.inputs - 1);
  ConvState s{};
  s.groups = ints.group;
  s.h = x.dims[1];
  s.w = x.dims[2];
  s.group_c = x.dims[3] / ints.group;
  s.group_o = out[3] / ints.group;
  s.x = strides_of(x);
  s.in_step_h = transposed ? 1 : ints.stride_h;
  s.in_step_w = transposed ? 1 : ints.stride_w;
  s.out_step_h = transposed ? ints.stride_h : 1;
  s.out_step_w = transposed ? ints.stride_w : 1;
  s.epilogue_inputs = p.epilogue_inputs;
  TileStrides tiles[EpilogueCode::kMaxOperands];
  for (size_t o = 0; o < operands; ++o) {
    s.operand[o] = strides_of(problem.inputs[first + o]);
    tiles[o] = {s.operand[o].w * s.out_step_w, s.operand[o].c};
  }
  for (size_t o = 0; o < problem.outputs.size(); ++o) s.output[o] = strides_of(problem.outputs[o]);
  s.epilogue = compile_epilogue(p.epilogue, {tiles, operands});

  const std::vector<TapGrid> grids = tap_grids(p, transposed);
  s.phases = static_cast<int64_t>(grids.size());
  std::vector<ConvPhase> phases;
  int64_t b = 0, most_h = 0, most_w = 0, span_h = 0, span_w = 0, depth = 0;
  s.in_place = s.x.c == 1;
  for (const TapGrid& grid : grids) {
    ConvPhase phase{};
    phase.out_h = grid.out_h;
    phase.out_w = grid.out_w;
    phase.q_h = std::max<int64_t>(0, ceil_div(out[1] - grid.out_h, s.out_step_h));
    phase.q_w = std::max<int64_t>(0, ceil_div(out[2] - grid.out_w, s.out_step_w));
    const int64_t taps = grid.count();
    if (taps > 0) {
      phase.in_h = grid.rows.front().offset;
      phase.in_w = grid.cols.front().offset;
      phase.span_h = grid.rows.back().offset - phase.in_h;
      phase.span_w = grid.cols.back().offset - phase.in_w;
    }
    const bool merged = merges(grid, s.group_c);
    if (merged && s.x.w != s.group_c) s.in_place = 0;
    phase.segments = merged ? static_cast<int64_t>(grid.rows.size()) : taps;
    phase.length = merged ? static_cast<int64_t>(grid.cols.size()) * s.group_c : s.group_c;
    phase.flush = std::max<int64_t>(1, kGemmChunk / phase.length);
    phase.panel = taps * s.group_c * kGemmPanel;
    phase.b_group = ceil_div(s.group_o, kGemmPanel) * phase.panel;
    phase.b = b;
    b += s.groups * phase.b_group;
    most_h = std::max(most_h, phase.q_h);
    most_w = std::max(most_w, phase.q_w);
    span_h = std::max(span_h, phase.span_h);
    span_w = std::max(span_w, phase.span_w);
    depth = std::max(depth, taps * s.group_c);
    phases.push_back(phase);
  }

  const auto asked = [&](const char* key, int64_t most) {
    const auto found = tactic.find(key);
    return found == tactic.end()
               ? int64_t{0}
               : std::clamp<int64_t>(found->second, 1, std::max<int64_t>(most, 1));
  };
  s.block_o = round_up(asked("cols", s.group_o), kGemmPanel);
  if (s.block_o == 0) s.block_o = choose_blocks(1, s.group_o, depth, 1, {}, machine, workers).cols;
  s.blocks_o = ceil_div(s.group_o, s.block_o);
  // The copy of the image takes at most a quarter of the second-level cache: rows first, and where
  // even the rows under one output row are too long, part of their columns.
  const int64_t budget = machine.l2_bytes / 4 / 4 / s.group_c;
  const auto pixels = [&](int64_t count, int64_t step, int64_t span) {
    return (count - 1) * step + span + 1;
  };
  s.block_w = std::max<int64_t>(most_w, 1);
  if (const int64_t width = budget / pixels(1, s.in_step_h, span_h);
      width < pixels(s.block_w, s.in_step_w, span_w)) {
    const int64_t fit = std::max<int64_t>(12, (width - span_w - 1) / s.in_step_w + 1);
    s.block_w = ceil_div(s.block_w, ceil_div(s.block_w, fit));
  }
  s.blocks_w = ceil_div(most_w, s.block_w);
  s.patch_w = pixels(s.block_w, s.in_step_w, span_w);
  if (s.block_h = asked("rows", most_h); s.block_h == 0) {
    const int64_t fit = std::max<int64_t>(1, (budget / s.patch_w - span_h - 1) / s.in_step_h + 1);
    const double row_work =
        2.0 * static_cast<double>(depth * std::min(s.block_o, s.group_o) * s.block_w);
    constexpr double kLeast = 4e6;  // as choose_blocks
    const auto least = static_cast<int64_t>(kLeast / std::max(row_work, 1.0));
    const int64_t others =
        std::max<int64_t>(1, out[0] * s.groups * s.phases * s.blocks_o * s.blocks_w);
    const int64_t wanted = workers == 1 ? 1 : ceil_div(4 * workers, others);
    const int64_t rows = std::clamp<int64_t>(std::max(ceil_div(most_h, wanted), least), 1, fit);
    s.block_h =
        std::max<int64_t>(1, ceil_div(most_h, even_count(ceil_div(most_h, rows), others, workers)));
  }
  s.blocks_h = ceil_div(most_h, s.block_h);
  s.patch_at = round_up(matrix_tile_floats(s.epilogue), 16);

  Launch launch;
  launch.tasks = out[0] * s.phases * s.groups * s.blocks_o * s.blocks_w * s.blocks_h;
  const int64_t patch = pixels(s.block_h, s.in_step_h, span_h) * s.patch_w * s.group_c;
  launch.scratch_bytes = static_cast<size_t>(s.patch_at + patch) * sizeof(float);
  append_state(launch.state, s);
  int64_t offsets = kConvStateWords + s.phases * kConvPhaseWords;
  for (ConvPhase& phase : phases) {
    phase.offsets = offsets;
    offsets += 2 * phase.segments;
    append_state(launch.state, phase);
  }
  for (size_t i = 0; i < grids.size(); ++i)
    for (const auto& [row_pitch, pixel] :
         {std::pair{s.patch_w * s.group_c, s.group_c}, std::pair{s.x.h, s.x.w}})
      for (const auto& row : grids[i].rows)
        for (const auto& col : grids[i].cols) {
          if (merges(grids[i], s.group_c) && &col != &grids[i].cols.front()) continue;
          launch.state.push_back((row.offset - phases[i].in_h) * row_pitch +
                                 (col.offset - phases[i].in_w) * pixel);
        }
  return launch;
}

static std::vector<Tactic> tactics_any(const BoundProblem& problem, bool transposed,
                                       const Machine& machine, int workers) {
  std::vector<Tactic> out = {{}};
  if (element_count(problem.outputs[0].dims) == 0) return out;
  const Launch launch = bind_any(problem, transposed, {}, machine, workers);
  ConvState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  const int64_t rows = s.block_h * s.blocks_h;
  const auto add = [&](int64_t h, int64_t o) {
    h = std::clamp<int64_t>(h, 1, rows);
    o = std::min(round_up(std::max<int64_t>(o, 1), kGemmPanel), round_up(s.group_o, kGemmPanel));
    Tactic tactic{{"rows", h}, {"cols", o}};
    if ((h != s.block_h || o != s.block_o) &&
        std::find(out.begin(), out.end(), tactic) == out.end())
      out.push_back(std::move(tactic));
  };
  add(s.block_h / 2, s.block_o);
  add(s.block_h * 2, s.block_o);
  add(s.block_h, s.block_o / 2);
  add(s.block_h, s.block_o * 2);
  return out;
}

Refusal conv_accepts(const Problem& problem) { return accepts_any(problem, false); }
std::vector<Tactic> conv_tactics(const BoundProblem& problem, const Machine& machine, int workers) {
  return tactics_any(problem, false, machine, workers);
}
Launch conv_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                 int workers) {
  return bind_any(problem, false, tactic, machine, workers);
}
Refusal conv_transpose_accepts(const Problem& problem) { return accepts_any(problem, true); }
std::vector<Tactic> conv_transpose_tactics(const BoundProblem& problem, const Machine& machine,
                                           int workers) {
  return tactics_any(problem, true, machine, workers);
}
Launch conv_transpose_bind(const BoundProblem& problem, const Tactic& tactic,
                           const Machine& machine, int workers) {
  return bind_any(problem, true, tactic, machine, workers);
}

}  // namespace vitrail
