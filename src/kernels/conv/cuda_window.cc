// SPDX-License-Identifier: Apache-2.0
// Convolution of few channels, stride 1, with its pixels and weights in shared memory.
#include <algorithm>

#include "base/round.h"
#include "kernels/conv/cuda.h"
#include "kernels/conv/family.h"
#include "kernels/conv/taps.h"
#include "kernels/cuda/mma_tiles.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int64_t kMostChannels = 64, kMostTaps = 25;
int64_t extent(const Operand& operand, size_t axis) { return operand.dims[axis].constant(); }

struct Tile {
  int64_t ty, tx, mt;
  int64_t threads() const { return ty * tx * 2 / mt; }
};
constexpr Tile kTiles[] = {{16, 16, 2}, {8, 16, 2},  {16, 16, 1},
                           {8, 32, 2},  {16, 32, 4}, {8, 16, 1}};

int64_t shared_of(const Problem& p, const Tile& t) {
  const Operand& w = p.inputs[1];
  const int64_t c = round_up(extent(w, 1), 16), o = round_up(extent(w, 0), 16);
  return std::max((t.ty + extent(w, 2) - 1) * (t.tx + extent(w, 3) - 1) * (c + 8) * 2 +
                      extent(w, 2) * extent(w, 3) * c * (o + 8) * 2,
                  t.ty * t.tx * (o + 4) * 4);
}

Refusal accepts(const Problem& problem, const GpuMachine& machine) {
  if (Refusal why = conv_cuda_mma_accepts(problem); !why.empty()) return why;
  const Operand &x = problem.inputs[0], &w = problem.inputs[1];
  const ConvInts ints(problem);
  if (x.dtype != w.dtype || x.dtype == DType::f32)
    return "x and the weight are not of one 16-bit type";
  if (ints.stride_h != 1 || ints.stride_w != 1 || ints.dilation_h != 1 || ints.dilation_w != 1)
    return "strides or dilations";
  constexpr int64_t kLeast = 8;
  if (extent(w, 1) > kMostChannels || extent(w, 0) > kMostChannels || extent(w, 1) < kLeast ||
      extent(w, 2) * extent(w, 3) > kMostTaps)
    return fmt::format("not {} to {} channels, or more than {} taps", kLeast, kMostChannels,
                       kMostTaps);
  if (!x.strides[3].is(1) || cuda::vector_width(problem, false, 0) < 2)
    return "rows are not known to be aligned to 4 bytes";
  if (shared_of(problem, {8, 16, 1}) > machine.shared_bytes)
    return fmt::format("a block needs {} bytes of shared memory", shared_of(problem, {8, 16, 1}));
  return {};
}

/// Where blocks enough for every multiprocessor have an image under them.
bool preferred(const BoundProblem& problem, const GpuMachine& machine) {
  const Dims& out = problem.outputs[0].dims;
  return out[0] * ceil_div(out[1], 8) * ceil_div(out[2], 16) >= 2 * machine.multiprocessors;
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  std::vector<Tactic> list;
  const Problem& p = *problem.problem;
  const int64_t o = round_up(extent(p.inputs[1], 0), 16);
  constexpr int64_t kMostColumns = 128;
  for (const Tile& t : kTiles)
    if (shared_of(p, t) <= machine.shared_bytes && t.mt * o <= kMostColumns)
      list.push_back({{"ty", t.ty}, {"tx", t.tx}, {"mt", t.mt}});
  return list;
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine& machine) {
  Tile t{8, 16, 1};
  for (const auto& [key, value] :
       {std::pair{"ty", &t.ty}, std::pair{"tx", &t.tx}, std::pair{"mt", &t.mt}})
    if (const auto found = tactic.find(key); found != tactic.end()) *value = found->second;
  const Operand &x = problem.inputs[0], &w = problem.inputs[1], &out = problem.outputs[0];
  const ConvInts ints(problem);
  SourceText text(problem);
  text.include("mma.cuh");
  text.tail(cuda::tail_width(problem));
  text.add(std::string(cuda::device_header("conv_window.cuh")));
  const auto n = [&](const Expr& e) { return text.number(e); };
  std::string config = fmt::format(
      "struct Cfg {{\n  typedef {} T;\n  static constexpr int C = {}, O = {}, WIDE = {}, NB = {}, "
      "KH = {}, KW = {}, S = 1, TY = {}, TX = {}, MT = {}, VX = {}, PT = {}, PL = {};\n",
      cuda::c_type(x.dtype), extent(w, 1), extent(w, 0), round_up(extent(w, 1), 8),
      round_up(extent(w, 0), cuda::kGemmPad), extent(w, 2), extent(w, 3), t.ty, t.tx, t.mt,
      cuda::vector_width(problem, false, 0), ints.pad_top, ints.pad_left);
  for (const auto& [name, value] : {std::pair{"H", x.dims[1]}, std::pair{"W", x.dims[2]},
                                    std::pair{"OH", out.dims[1]}, std::pair{"OW", out.dims[2]}})
    config +=
        fmt::format("  static __device__ __forceinline__ int {}(const Args& a) {{ return {}; }}\n",
                    name, n(value));
  config += fmt::format(
      "  static __device__ __forceinline__ const T* pixel(const Args& a, int image, int y, int x) "
      "{{ return a.in0 + (image * (long long){} + y * {} + x * {}); }}\n}};\n",
      n(x.strides[0]), n(x.strides[1]), n(x.strides[2]));
  text.add(config);
  const int64_t bytes = shared_of(problem, t);
  constexpr int64_t kThreads = 512;  // of a multiprocessor, with 128 registers each
  const int64_t resident = std::clamp<int64_t>(
      std::min(machine.shared_bytes / (bytes + 1024), kThreads / t.threads()), 1, 4);
  text.entry("conv", static_cast<int>(t.threads()), "  ConvWindow<Cfg>::run(a);\n",
             static_cast<int>(resident));
  return text.finish(
      {{.entry = "conv",
        .grid = {ceildiv(out.dims[2], t.tx) * ceildiv(out.dims[1], t.ty) * out.dims[0], 1, 1},
        .threads = static_cast<int>(t.threads()),
        .shared_bytes = bytes}});
}

}  // namespace

extern const GpuKernel conv_cuda_window;
const GpuKernel conv_cuda_window{.name = "conv_cuda_window",
                                 .family = "conv",
                                 .accepts = accepts,
                                 .tactics = tactics,
                                 .generate = generate,
                                 .pack = conv_cuda_mma_pack,
                                 .preferred = preferred};

}  // namespace vitrail
