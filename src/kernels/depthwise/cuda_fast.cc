// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution, channels last: a thread computes TX x TY pixels of V channels, keeping the
// window's weights in registers and each row of the image while it is needed; neighbours share rows
// through the first-level cache.
#include <algorithm>

#include "kernels/cuda/mma_tiles.h"
#include "kernels/depthwise/family.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int64_t kChannelPad = 16;
int64_t extent(const Operand& operand, size_t axis) { return operand.dims[axis].constant(); }

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.size() < 2 || problem.outputs.empty())
    return "needs x, a weight and an output";
  if (problem.epilogue_inputs < 2) return "the epilogue's operands start before the weight ends";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand &x = problem.inputs[0], &w = problem.inputs[1], &out = problem.outputs[0];
  if (x.dims.size() != 4 || out.dims.size() != 4 || w.dims.size() != 4)
    return "x, weight and output need 4 axes";
  if (!w.constant || !is_static(w.dims)) return "the weight is not constant";
  if (!w.dims[1].is(1) || x.dims[3] != w.dims[0] || out.dims[3] != w.dims[0])
    return "not one window per channel";
  if (x.dims[0] != out.dims[0]) return "x and output differ in images";
  if (!x.strides[3].is(1)) return "the channel stride of x is not 1";
  constexpr int64_t kMostTaps = 25, kMostReach = 16;
  if (extent(w, 2) * extent(w, 3) > kMostTaps || extent(w, 2) < 1 || extent(w, 3) < 1 ||
      extent(w, 0) < 1)
    return fmt::format("a window of {} x {}", extent(w, 2), extent(w, 3));
  if ((extent(w, 3) - 1) * problem.integer("dilation_w", 1) + 4 * problem.integer("stride_w", 1) >
          2 * kMostReach ||
      (extent(w, 2) - 1) * problem.integer("dilation_h", 1) + 4 * problem.integer("stride_h", 1) >
          2 * kMostReach)
    return "windows too far apart";
  return {};
}

struct Tile {
  int v, tx, ty;
};
// As they did on an H200: many small threads where pixels are few, more work for each where loads
// are what counts.
constexpr Tile kFew[] = {{2, 2, 1}, {8, 1, 2}, {4, 1, 1}, {4, 2, 2}, {4, 4, 2}};
constexpr Tile kMany[] = {{4, 2, 2}, {8, 2, 2}, {4, 4, 2}, {4, 2, 4}, {2, 4, 2}, {8, 1, 2}};
constexpr int64_t kManyElements = 1 << 20;

int64_t registers(const Tile& t, int64_t kh, int64_t kw, int64_t step) {
  return t.v * (kh * kw + t.tx * t.ty + (t.tx - 1) * step + kw);
}
int widest(const Problem& problem) {
  return std::min(cuda::vector_width(problem, false, 0), cuda::tail_width(problem));
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine&) {
  const Problem& p = *problem.problem;
  const Dims& w = problem.inputs[1].dims;
  std::vector<Tactic> list;
  const auto add = [&](Tile t) {
    t.v = std::min(t.v, widest(p));
    const Tactic tactic{{"v", t.v}, {"tx", t.tx}, {"ty", t.ty}};
    constexpr int64_t kRegisters = 150;
    if (registers(t, w[2], w[3], p.integer("stride_w", 1)) <= kRegisters &&
        std::find(list.begin(), list.end(), tactic) == list.end())
      list.push_back(tactic);
  };
  if (element_count(problem.outputs[0].dims) < kManyElements)
    for (const Tile& t : kFew) add(t);
  else
    for (const Tile& t : kMany) add(t);
  if (list.empty()) list.push_back({{"v", 1}, {"tx", 1}, {"ty", 1}});
  return list;
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine&) {
  const auto key = [&](const char* name, int64_t fallback) {
    return tactic.count(name) ? tactic.at(name) : fallback;
  };
  const Operand &x = problem.inputs[0], &w = problem.inputs[1], &out = problem.outputs[0];
  constexpr int threads = 128;
  const int v = std::min(static_cast<int>(key("v", 4)), widest(problem));
  const int64_t tx = key("tx", 2), ty = key("ty", 2), c = extent(w, 0);
  SourceText text(problem);
  text.tail(v);
  const auto n = [&](const Expr& e) { return text.number(e); };
  const Expr across = ceildiv(out.dims[2], tx), down = ceildiv(out.dims[1], ty);
  const int64_t groups = (c + v - 1) / v;
  const Expr items = out.dims[0] * down * across * groups;
  text.add(fmt::format(
      "constexpr int C = {}, V = {}, TX = {}, TY = {}, KH = {}, KW = {}, SH = {}, SW = {}, DH = "
      "{}, DW = {}, G = {}, P = {};\n"
      "constexpr bool WHOLE = {};\n",
      c, v, tx, ty, extent(w, 2), extent(w, 3), problem.integer("stride_h", 1),
      problem.integer("stride_w", 1), problem.integer("dilation_h", 1),
      problem.integer("dilation_w", 1), groups, (c + kChannelPad - 1) / kChannelPad * kChannelPad,
      cuda::whole_rows(problem, false, 0, v)));
  text.entry(
      "depthwise", threads,
      fmt::format(R"(  vt_trigger();
  const int item = vt_block(a) * {0} + threadIdx.x;
  if (item >= {1}) return;
  const int col = item % G * V, tile = item / G, across = tile % {2} * TX, rest = tile / {2};
  const int down = rest % {3} * TY, image = rest / {3};
  float weight[KH * KW][V], sum[TY][TX][V];
#pragma unroll
  for (int t = 0; t < KH * KW; ++t) vt_load<V>(a.in1 + t * P + col, weight[t]);
#pragma unroll
  for (int i = 0; i < TY * TX; ++i) vt_fill<V>(0.0f, sum[i / TX][i % TX]);
  vt_wait();
  const auto* base = a.in0 + image * (long long){4} + col;
  const int top = down * SH - {5}, left = across * SW - {6};
#pragma unroll
  for (int iy = 0; iy <= (TY - 1) * SH + (KH - 1) * DH; ++iy) {{
    bool used = false;
#pragma unroll
    for (int y = 0; y < TY; ++y) used |= iy >= y * SH && (iy - y * SH) % DH == 0 && (iy - y * SH) / DH < KH;
    if (!used) continue;
    const int row = top + iy;
    const bool inside_y = (unsigned)row < (unsigned){7};
#pragma unroll
    for (int ix = 0; ix <= (TX - 1) * SW + (KW - 1) * DW; ++ix) {{
      bool wanted = false;
#pragma unroll
      for (int q = 0; q < TX; ++q) wanted |= ix >= q * SW && (ix - q * SW) % DW == 0 && (ix - q * SW) / DW < KW;
      if (!wanted) continue;
      const int at = left + ix;
      float pixel[V];
      vt_fill<V>(0.0f, pixel);
      if (inside_y && (unsigned)at < (unsigned){8}) {{
        const auto* from = base + row * {9} + at * {10};
        if (C % V == 0 || WHOLE || col + V <= C)
          vt_load<V>(from, pixel);
        else
#pragma unroll
          for (int e = 0; e < V; ++e) pixel[e] = col + e < C ? vt_float(from[e]) : 0.0f;
      }}
#pragma unroll
      for (int y = 0; y < TY; ++y) {{
        if (iy < y * SH || (iy - y * SH) % DH != 0 || (iy - y * SH) / DH >= KH) continue;
#pragma unroll
        for (int q = 0; q < TX; ++q) {{
          if (ix < q * SW || (ix - q * SW) % DW != 0 || (ix - q * SW) / DW >= KW) continue;
#pragma unroll
          for (int e = 0; e < V; ++e) sum[y][q][e] += pixel[e] * weight[(iy - y * SH) / DH * KW + (ix - q * SW) / DW][e];
        }}
      }}
    }}
  }}
#pragma unroll
  for (int y = 0; y < TY; ++y)
#pragma unroll
    for (int q = 0; q < TX; ++q)
      if (down + y < {11} && across + q < {12}) vt_finish<Tail>(a, (image * {11} + down + y) * {12} + across + q, col, C, sum[y][q]);
)",
                  threads, n(items), n(across), n(down), n(x.strides[0]),
                  problem.integer("pad_top", 0), problem.integer("pad_left", 0), n(x.dims[1]),
                  n(x.dims[2]), n(x.strides[1]), n(x.strides[2]), n(out.dims[1]), n(out.dims[2])));
  return text.finish(
      {{.entry = "depthwise", .grid = {ceildiv(items, threads), 1, 1}, .threads = threads}});
}

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  if (index != 1) return dense;
  const Dims& d = dense.dims();
  return cuda::pack_rows(dense.data<float>(), d[2] * d[3], d[0], 1, d[2] * d[3], kChannelPad);
}

}  // namespace

extern const GpuKernel depthwise_cuda_tile;
const GpuKernel depthwise_cuda_tile{.name = "depthwise_cuda_tile",
                                    .family = "depthwise",
                                    .accepts = accepts,
                                    .tactics = tactics,
                                    .generate = generate,
                                    .pack = pack};

}  // namespace vitrail
