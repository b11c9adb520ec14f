// SPDX-License-Identifier: Apache-2.0
#include "kernels/inverted/bind.h"

#include <algorithm>

#include "base/round.h"
#include "kernels/gemm/bind.h"
#include "kernels/gemm/family.h"
#include "kernels/image_blocks.h"
#include "kernels/reference.h"

namespace vitrail {
namespace {

InvertedState::Chunks chunks_of(int64_t k) {
  const int64_t length = ceil_div(k, ceil_div(k, kGemmChunk)), count = ceil_div(k, length);
  return {count, length, k - (count - 1) * length};
}

InvertedState::Strides strides_of(const BoundOperand& operand) {
  return {operand.strides[0], operand.strides[1], operand.strides[2], operand.strides[3]};
}

bool known(int64_t activation) {
  return activation < 0 || activation == static_cast<int64_t>(Pointwise::gelu) ||
         activation == static_cast<int64_t>(Pointwise::swish) ||
         activation == static_cast<int64_t>(Pointwise::relu);
}

}  // namespace

Pointwise inverted_activation(const Problem& problem, const char* key) {
  const int64_t found = problem.integer(key, -1);
  return found < 0 ? Pointwise::constant : static_cast<Pointwise>(found);
}

Refusal inverted_accepts(const Problem& p) {
  if (p.inputs.size() < 6 || p.outputs.empty())
    return "inverted has six inputs, epilogue operands and an output";
  if (p.epilogue_inputs < 6) return "epilogue operands start at input 6";
  if (Refusal why = check_epilogue(p); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(p.epilogue); !why.empty()) return why;
  const Operand& x = p.inputs[0];
  const Shape& out = p.outputs[0].dims;
  if (x.dims.size() != 4 || out.size() != 4 || x.dims[0] != out[0])
    return fmt::format("x is {} and the output {}, both must be [n, h, w, c]", to_string(x.dims),
                       to_string(out));
  for (size_t i = 0; i < 6; ++i)
    if (p.inputs[i].dtype != DType::f32)
      return fmt::format("input {} is {}, not f32", i, name_of(p.inputs[i].dtype));
  if (x.constant) return "x is a constant";
  if (!x.strides[3].is(1)) return fmt::format("x's channel stride is {}", x.strides[3].str());
  for (size_t i : {1, 3, 5})
    if (!p.inputs[i].constant || !is_static(p.inputs[i].dims))
      return fmt::format("input {} is not a constant", i);
  if (!x.dims[3].is_constant() || !out[3].is_constant()) return "channels are not constant";
  const Shape &w1 = p.inputs[1].dims, &dw = p.inputs[3].dims, &w2 = p.inputs[5].dims;
  if (w1.size() != 2 || w2.size() != 2 || dw.size() != 4 || w1[0] != x.dims[3] || w2[1] != out[3] ||
      w1[1] != w2[0] || dw[0] != w1[1] || !dw[1].is(1) || x.dims[3].constant() < 1 ||
      w1[1].constant() < 1 || out[3].constant() < 1)
    return fmt::format("weights {}, {} and {} for {} to {}", to_string(w1), to_string(dw),
                       to_string(w2), to_string(x.dims), to_string(out));
  for (size_t i : {2, 4})
    if (p.inputs[i].dims != Shape{w1[1]} || !p.inputs[i].strides[0].is(1))
      return fmt::format("bias {} is {}, not dense of {}", i, to_string(p.inputs[i].dims),
                         w1[1].str());
  if (dw[2].constant() < 1 || dw[3].constant() < 1 || dw[2].constant() > InvertedState::kMostRows)
    return fmt::format("a window of {} rows, at most {}", dw[2].str(), InvertedState::kMostRows);
  // Limits keep the arithmetic of a damaged plan inside 64 bits.
  constexpr int64_t kMostColumns = 1024, kMostStep = 1 << 20, kMostChannels = 1 << 16;
  if (dw[3].constant() > kMostColumns) return fmt::format("a window of {} columns", dw[3].str());
  for (const Expr& channels : {x.dims[3], w1[1], out[3]})
    if (channels.constant() > kMostChannels) return fmt::format("{} channels", channels.str());
  for (const char* key : {"stride_h", "stride_w"})
    if (const int64_t v = p.integer(key, 1); v < 1 || v > kMostStep)
      return fmt::format("{} is {}", key, v);
  for (const char* key : {"pad_top", "pad_left"})
    if (const int64_t v = p.integer(key, 0); v < 0 || v > kMostStep)
      return fmt::format("{} is {}", key, v);
  if (!known(p.integer("activation1", -1)) || !known(p.integer("activation2", -1)))
    return "an activation is none of gelu, swish, relu";
  return {};
}

Launch inverted_bind(const BoundProblem& problem, const Tactic& tactic, const Machine& machine,
                     int workers) {
  const Problem& p = *problem.problem;
  const BoundOperand& x = problem.inputs[0];
  const Dims& out = problem.outputs[0].dims;
  InvertedState s{};
  s.h = x.dims[1];
  s.w = x.dims[2];
  s.c = x.dims[3];
  s.e = problem.inputs[1].dims[1];
  s.padded_e = round_up(s.e, kGemmPanel);
  s.out_h = out[1];
  s.out_w = out[2];
  s.o = out[3];
  s.kh = problem.inputs[3].dims[2];
  s.kw = problem.inputs[3].dims[3];
  s.stride_h = p.integer("stride_h", 1);
  s.stride_w = p.integer("stride_w", 1);
  s.pad_top = p.integer("pad_top", 0);
  s.pad_left = p.integer("pad_left", 0);
  s.x = strides_of(x);
  s.normalize = p.integer("normalize", 0);
  s.eps = p.number("eps", 1e-5);
  s.expand = chunks_of(s.c);
  s.project = chunks_of(s.e);
  s.epilogue_inputs = p.epilogue_inputs;

  // x W1 goes through bias and activation as one compiled row.
  PointwiseProgram first{2, {{Pointwise::add, 0, 1}}, {2}};
  if (const Pointwise a = inverted_activation(p, "activation1"); a != Pointwise::constant) {
    first.code.push_back({a, 2, 0, static_cast<float>(p.number("imm1", 1))});
    first.results = {3};
  }
  const TileStrides bias{0, 1};
  s.first = compile_epilogue(first, {&bias, 1});
  s.activation2 = inverted_activation(p, "activation2");
  s.imm2 = static_cast<float>(p.number("imm2", 1));
  const auto operands = static_cast<size_t>(p.epilogue.inputs - 1);
  TileStrides tiles[EpilogueCode::kMaxOperands];
  for (size_t i = 0; i < operands; ++i) {
    s.operand[i] = strides_of(problem.inputs[static_cast<size_t>(p.epilogue_inputs) + i]);
    tiles[i] = {s.operand[i].w, s.operand[i].c};
  }
  for (size_t i = 0; i < problem.outputs.size(); ++i) s.output[i] = strides_of(problem.outputs[i]);
  s.epilogue = compile_epilogue(p.epilogue, {tiles, operands});

  // The ring and the depthwise row take three eighths of the second-level cache; the weights, read
  // again for each row, have most of the rest.
  if (s.block_w = asked_extent(tactic, "cols"); s.block_w == 0) {
    const int64_t column = (s.kh * s.stride_w + 1) * s.padded_e * 4;
    const int64_t fit = std::clamp<int64_t>(machine.l2_bytes * 3 / 8 / column, 12, 128);
    s.block_w = ceil_div(s.out_w, std::max<int64_t>(1, ceil_div(s.out_w, fit)));
  }
  s.block_w = std::clamp<int64_t>(s.block_w, 1, std::max<int64_t>(s.out_w, 1));
  s.blocks_w = ceil_div(s.out_w, s.block_w);
  if (s.block_h = asked_extent(tactic, "rows"); s.block_h == 0)
    s.block_h = block_rows(s.out_h, 4 * s.kh, std::max<int64_t>(1, out[0] * s.blocks_w), workers);
  s.block_h = std::clamp<int64_t>(s.block_h, 1, std::max<int64_t>(s.out_h, 1));
  s.blocks_h = ceil_div(s.out_h, s.block_h);
  s.hidden_w = (s.block_w - 1) * s.stride_w + s.kw;
  const int64_t tile = std::max(matrix_tile_floats(s.first), matrix_tile_floats(s.epilogue));
  s.norm_at = round_up(tile, 16);
  s.ring_at = s.norm_at + (s.normalize ? round_up(s.hidden_w * s.c, 16) : 0);
  s.middle_at = s.ring_at + s.kh * s.hidden_w * s.padded_e;

  Launch launch;
  launch.tasks = out[0] * s.blocks_w * s.blocks_h;
  launch.scratch_bytes = static_cast<size_t>(s.middle_at + s.block_w * s.padded_e) * sizeof(float);
  append_state(launch.state, s);
  for (const InvertedState::Chunks& chunks : {s.expand, s.project})
    for (int64_t i = 0; i < chunks.count; ++i) launch.state.push_back(i * chunks.length);
  return launch;
}

std::vector<Tactic> inverted_tactics(const BoundProblem& problem, const Machine& machine,
                                     int workers) {
  if (element_count(problem.outputs[0].dims) == 0) return {{}};
  const Launch launch = inverted_bind(problem, {}, machine, workers);
  InvertedState s;
  __builtin_memcpy(&s, launch.state.data(), sizeof s);
  return block_tactics(s.out_h, s.out_w, {s.block_h, s.block_w},
                       {{s.block_h, ceil_div(s.block_w, 2)},
                        {s.block_h, s.block_w * 2},
                        {ceil_div(s.block_h, 2), s.block_w}});
}

}  // namespace vitrail
