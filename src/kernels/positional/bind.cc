// SPDX-License-Identifier: Apache-2.0
#include "kernels/positional/bind.h"

#include <algorithm>

#include "base/round.h"
#include "kernels/gemm/bind.h"
#include "kernels/gemm/family.h"
#include "kernels/image_blocks.h"
#include "kernels/reference.h"

namespace vitrail {
namespace {

PositionalState::Strides strides_of(const BoundOperand& operand) {
  return {operand.strides[0], operand.strides[1], operand.strides[2], operand.strides[3]};
}

}  // namespace

Pointwise positional_activation(const Problem& problem) {
  const int64_t found = problem.integer("activation", -1);
  return found < 0 ? Pointwise::constant : static_cast<Pointwise>(found);
}

Refusal positional_accepts(const Problem& p) {
  if (p.inputs.size() < 7 || p.outputs.empty())
    return "positional has seven inputs, epilogue operands and an output";
  if (p.epilogue_inputs < 7) return "epilogue operands start at input 7";
  if (Refusal why = check_epilogue(p); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(p.epilogue); !why.empty()) return why;
  for (size_t i = 0; i < 7; ++i)
    if (p.inputs[i].dtype != DType::f32)
      return fmt::format("input {} is {}, not f32", i, name_of(p.inputs[i].dtype));
  const Operand &x = p.inputs[0], &m = p.inputs[6];
  const Shape& out = p.outputs[0].dims;
  if (x.dims.size() != 4 || out.size() != 4 || x.dims[0] != out[0] || x.dims[1] != out[1] ||
      x.dims[2] != out[2])
    return fmt::format("x is {} and the output {}, both must be [n, h, w, c]", to_string(x.dims),
                       to_string(out));
  if (x.constant || m.constant) return "x or M is a constant";
  if (!x.strides[3].is(1)) return fmt::format("x's channel stride is {}", x.strides[3].str());
  for (size_t i : {1, 2, 4})
    if (!p.inputs[i].constant || !is_static(p.inputs[i].dims))
      return fmt::format("input {} is not a constant", i);
  if (!x.dims[3].is_constant() || !out[3].is_constant()) return "channels are not constant";
  constexpr int64_t kMost = 1 << 16;  // keeps the arithmetic of a damaged plan inside 64 bits
  for (const Expr& channels : {x.dims[3], out[3]})
    if (channels.constant() < 1 || channels.constant() > kMost)
      return fmt::format("{} channels", channels.str());
  const Shape window = {out[3], 1, 3, 3};
  if (p.inputs[1].dims != Shape{x.dims[3], out[3]} || p.inputs[2].dims != window ||
      p.inputs[4].dims != window)
    return fmt::format("weights {}, {} and {} for {} to {}", to_string(p.inputs[1].dims),
                       to_string(p.inputs[2].dims), to_string(p.inputs[4].dims), to_string(x.dims),
                       to_string(out));
  for (size_t i : {3, 5})
    if (p.inputs[i].dims != Shape{out[3]} || !p.inputs[i].strides[0].is(1))
      return fmt::format("bias {} is {}, not dense of {}", i, to_string(p.inputs[i].dims),
                         out[3].str());
  if (m.dims != Shape{out[0], x.dims[3], out[3]} || !m.strides[2].is(1))
    return fmt::format("M is {}, not [n, c, e] with rows together", to_string(m.dims));
  const int64_t a = p.integer("activation", -1);
  if (a >= 0 && a != static_cast<int64_t>(Pointwise::gelu) &&
      a != static_cast<int64_t>(Pointwise::swish) && a != static_cast<int64_t>(Pointwise::relu))
    return "the activation is none of gelu, swish, relu";
  return {};
}

Launch positional_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                       int workers) {
  const Problem& p = *problem.problem;
  const BoundOperand &x = problem.inputs[0], &m = problem.inputs[6];
  const Dims& out = problem.outputs[0].dims;
  PositionalState s{};
  s.h = out[1];
  s.w = out[2];
  s.c = x.dims[3];
  s.e = out[3];
  s.padded_e = round_up(s.e, kGemmPanel);
  s.x = strides_of(x);
  s.m_n = m.strides[0];
  s.m_c = m.strides[1];
  s.chunks = ceil_div(s.c, kGemmChunk);
  s.length = ceil_div(s.c, s.chunks);
  s.chunks = ceil_div(s.c, s.length);
  s.last = s.c - (s.chunks - 1) * s.length;
  s.epilogue_inputs = p.epilogue_inputs;
  s.activation = positional_activation(p);
  s.imm = static_cast<float>(p.number("imm", 1));
  s.store = compile_epilogue(PointwiseProgram{1, {}, {0}}, {});
  const auto operands = static_cast<size_t>(p.epilogue.inputs - 1);
  TileStrides tiles[EpilogueCode::kMaxOperands];
  for (size_t i = 0; i < operands; ++i) {
    s.operand[i] = strides_of(problem.inputs[static_cast<size_t>(p.epilogue_inputs) + i]);
    tiles[i] = {s.operand[i].w, s.operand[i].c};
  }
  for (size_t i = 0; i < problem.outputs.size(); ++i) s.output[i] = strides_of(problem.outputs[i]);
  s.epilogue = compile_epilogue(p.epilogue, {tiles, operands});

  // Both rings and the row that is being made take half the second-level cache: whole rows of the
  // image where that is enough, as memory is read best in one run.
  if (s.block_w = asked_extent(tactic, "cols"); s.block_w == 0) {
    const int64_t fit = std::clamp<int64_t>(machine.l2_bytes / 2 / (7 * s.padded_e * 4), 12, 512);
    s.block_w = ceil_div(s.w, std::max<int64_t>(1, ceil_div(s.w, fit)));
  }
  s.block_w = std::clamp<int64_t>(s.block_w, 1, std::max<int64_t>(s.w, 1));
  s.blocks_w = ceil_div(s.w, s.block_w);
  if (s.block_h = asked_extent(tactic, "rows"); s.block_h == 0)
    s.block_h = block_rows(s.h, 16, std::max<int64_t>(1, out[0] * s.blocks_w), workers);
  s.block_h = std::clamp<int64_t>(s.block_h, 1, std::max<int64_t>(s.h, 1));
  s.blocks_h = ceil_div(s.h, s.block_h);
  const int64_t tile = std::max(matrix_tile_floats(s.store), matrix_tile_floats(s.epilogue));
  s.m_at = round_up(tile, 16);
  s.value_at = s.m_at + s.c * s.padded_e;
  s.ring_at = s.value_at + 3 * (s.block_w + 4) * s.padded_e;
  s.middle_at = s.ring_at + 3 * (s.block_w + 2) * s.padded_e;

  Launch launch;
  launch.tasks = out[0] * s.blocks_w * s.blocks_h;
  launch.scratch_bytes = static_cast<size_t>(s.middle_at + s.block_w * s.padded_e) * sizeof(float);
  append_state(launch.state, s);
  for (int64_t i = 0; i < s.chunks; ++i) launch.state.push_back(i * s.length);
  return launch;
}

std::vector<Tactic> positional_tactics(const BoundProblem& problem, const Machine& machine,
                                       int workers) {
  if (element_count(problem.outputs[0].dims) == 0) return {{}};
  const Launch launch = positional_bind(problem, {}, machine, workers);
  PositionalState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  return block_tactics(s.h, s.w, {s.block_h, s.block_w},
                       {{s.block_h, ceil_div(s.block_w, 2)},
                        {s.block_h, s.block_w * 2},
                        {ceil_div(s.block_h, 2), s.block_w},
                        {2 * s.block_h, ceil_div(s.block_w, 2)}});
}

}  // namespace vitrail
