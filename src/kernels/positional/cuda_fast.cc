// SPDX-License-Identifier: Apache-2.0
// Pixels times a matrix of each image beside two depthwise windows, on tensor cores, for 16-bit
// operands.
#include <algorithm>

#include "base/round.h"
#include "kernels/cuda/mma_tiles.h"
#include "kernels/positional/bind.h"
#include "kernels/positional/family.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int64_t kMostChannels = 128, kPad = 16, kChunk = 32, kTaps = 9;
int64_t extent(const Operand& operand, size_t axis) { return operand.dims[axis].constant(); }

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.size() < 7 || problem.outputs.empty())
    return "positional has seven inputs, epilogue operands and an output";
  if (problem.epilogue_inputs < 7) return "epilogue operands start at input 7";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand &x = problem.inputs[0], &m = problem.inputs[6];
  const Shape& out = problem.outputs[0].dims;
  if (x.dims.size() != 4 || out.size() != 4 || x.dims[0] != out[0] || x.dims[1] != out[1] ||
      x.dims[2] != out[2])
    return "x and the output are not [n, h, w, channels] of one image";
  if (x.constant || m.constant || x.dtype == DType::f32 || m.dtype != x.dtype)
    return "x and M are not of one 16-bit type";
  for (size_t i : {1, 2, 4})
    if (!problem.inputs[i].constant || !is_static(problem.inputs[i].dims) ||
        problem.inputs[i].dtype != x.dtype)
      return "a weight is not constant or of another type";
  if (!x.dims[3].is_constant() || !out[3].is_constant() || !x.strides[3].is(1))
    return "channels are not constant or not adjacent";
  const Shape window = {out[3], 1, 3, 3};
  if (problem.inputs[1].dims != Shape{x.dims[3], out[3]} || problem.inputs[2].dims != window ||
      problem.inputs[4].dims != window)
    return "extents do not match";
  for (size_t i : {3, 5})
    if (problem.inputs[i].dims != Shape{out[3]} || !problem.inputs[i].strides[0].is(1))
      return "a bias is not [e]";
  if (m.dims != Shape{out[0], x.dims[3], out[3]} || !m.strides[2].is(1))
    return "M is not [n, c, e] with rows together";
  if (extent(x, 3) < 1 || extent(x, 3) > kMostChannels || out[3].constant() < 1)
    return fmt::format("more than {} channels", kMostChannels);
  return {};
}

/// form 1: positional_pair.cuh with the shorter gelu.
struct Tile {
  int64_t ty, tx, warps, form = 0;
};
constexpr Tile kTiles[] = {{8, 16, 8}, {16, 16, 8}, {16, 16, 16}, {8, 32, 16},
                           {8, 32, 8}, {8, 16, 4},  {8, 16, 16},  {8, 8, 8}};

/// Pixels of which v and the middle are made, as 16-pixel tiles.
int64_t pixels(const Tile& t, int64_t border) {
  return round_up((t.ty + 2 * border) * (t.tx + 2 * border), 16);
}
int64_t shared_of(const Problem& p, const Tile& t) {
  const int64_t c = round_up(extent(p.inputs[0], 3), 16), row = (kChunk + 8) * 2;
  const int64_t chunks = ceil_div(extent(p.inputs[1], 1), kChunk);
  const int64_t weights = 2 * c * row + 2 * cuda::window_elements(kChunk, kTaps) * 2;
  return pixels(t, 2) * (c + 8) * 2 + std::max(pixels(t, 2) * row, t.ty * t.tx * (kChunk + 4) * 4) +
         pixels(t, 1) * row + (chunks > 1 ? 2 : 1) * weights;
}
int64_t resident(const Problem& p, const Tile& t, const GpuMachine& machine) {
  return std::clamp<int64_t>(
      std::min(machine.shared_bytes / (shared_of(p, t) + 1024), 24 / t.warps), 1, 4);
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Problem& p = *problem.problem;
  const Dims& out = problem.outputs[0].dims;
  std::vector<std::pair<double, Tile>> found;
  for (const Tile& t : kTiles) {
    if (shared_of(p, t) > machine.shared_bytes) continue;
    const int64_t blocks = out[0] * ceil_div(out[1], t.ty) * ceil_div(out[2], t.tx);
    const int64_t per_sm = ceil_div(blocks, machine.multiprocessors);
    // Fitted to 48 timings on an H200, to 7 %: what every warp does before its first tile counts.
    const auto together = static_cast<double>(std::min(per_sm, resident(p, t, machine)));
    const auto warps = static_cast<double>(t.warps);
    const auto c = static_cast<double>(extent(p.inputs[0], 3));
    found.emplace_back(static_cast<double>(per_sm) *
                           (static_cast<double>(pixels(t, 2)) * (4 + c / 16) +
                            static_cast<double>(pixels(t, 1)) * 14 +
                            static_cast<double>(t.ty * t.tx) * (100 + c / 16) + 590 * warps) *
                           (1 + 9.5 / (together * warps)),
                       t);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Tactic> list;
  const auto add = [&](const Tile& t, int64_t form) {
    list.push_back({{"ty", t.ty}, {"tx", t.tx}, {"warps", t.warps}, {"form", form}});
  };
  // Form 0 was slower with every tile on an H200.
  for (const auto& [cost, t] : found)
    if (t.tx % 16 == 0 && t.ty % 2 == 0) add(t, 1);
  if (list.empty())
    for (const auto& [cost, t] : found) add(t, 0);
  if (list.empty()) list.push_back({{"ty", 4}, {"tx", 8}, {"warps", 4}});
  return list;
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine& machine) {
  Tile t{8, 16, 8};
  for (const auto& [key, value] : {std::pair{"ty", &t.ty}, std::pair{"tx", &t.tx},
                                   std::pair{"warps", &t.warps}, std::pair{"form", &t.form}})
    if (const auto found = tactic.find(key); found != tactic.end()) *value = found->second;
  const Operand &x = problem.inputs[0], &m = problem.inputs[6], &out = problem.outputs[0];
  const int64_t e = extent(problem.inputs[1], 1);
  SourceText text(problem);
  text.include("mma.cuh");
  text.include("window.cuh");
  text.tail(cuda::tail_width(problem));
  text.add(std::string(cuda::device_header("positional.cuh")));
  if (t.form != 0) text.add(std::string(cuda::device_header("positional_pair.cuh")));
  const auto n = [&](const Expr& expr) { return text.number(expr); };
  std::string config = fmt::format(
      "struct Cfg {{\n  typedef {} T;\n  static constexpr int C = {}, E = {}, EP = {}, TY = {}, TX "
      "= {}, WARPS = {}, VX = {}, VM = {}, SHARED = {};\n",
      cuda::c_type(x.dtype), extent(x, 3), e, round_up(e, kPad), t.ty, t.tx, t.warps,
      cuda::vector_width(problem, false, 0), cuda::vector_width(problem, false, 6),
      shared_of(problem, t));
  const Pointwise op = positional_activation(problem);
  PointwiseProgram program;
  if (op != Pointwise::constant)
    program.code = {{op, 0, 0, static_cast<float>(problem.number("imm", 1))}};
  if (t.form != 0)
    config += "  static __device__ __forceinline__ float gelu() { return vt_gelu_sum_first(); }\n";
  config += fmt::format(
      "  static __device__ __forceinline__ float activate(float r0, float gelu) {{\n{}  }}\n",
      op == Pointwise::gelu
          ? fmt::format("    return {}(r0, gelu);\n", t.form != 0 ? "vt_gelu_sum" : "vt_gelu_inner")
          : fmt::format("{}    return r{};\n", cuda::program_text(program, "r", true),
                        program.code.size()));
  config += fmt::format(
      "  static __device__ __forceinline__ int H(const Args& a) {{ return {}; }}\n"
      "  static __device__ __forceinline__ int W(const Args& a) {{ return {}; }}\n"
      "  static __device__ __forceinline__ const T* pixel(const Args& a, int image, int y, int x) "
      "{{ return a.in0 + (image * (long long){} + y * {} + x * {}); }}\n"
      "  static __device__ __forceinline__ const T* matrix(const Args& a, int image, int k) {{ "
      "return a.in6 + (image * {} + k * {}); }}\n}};\n",
      n(x.dims[1]), n(x.dims[2]), n(x.strides[0]), n(x.strides[1]), n(x.strides[2]),
      n(m.strides[0]), n(m.strides[1]));
  text.add(config);
  const int threads = static_cast<int>(t.warps * 32);
  text.entry("positional", threads,
             t.form != 0 ? "  PositionalPair<Cfg>::run(a);\n" : "  Positional<Cfg>::run(a);\n",
             static_cast<int>(resident(problem, t, machine)));
  return text.finish(
      {{.entry = "positional",
        .grid = {ceildiv(out.dims[2], t.tx) * ceildiv(out.dims[1], t.ty) * out.dims[0], 1, 1},
        .threads = threads,
        .shared_bytes = shared_of(problem, t)}});
}

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  const Dims& d = dense.dims();
  if (index == 1) return cuda::pack_rows(dense.data<float>(), d[0], d[1], d[1], 1, kPad);
  if (index == 2 || index == 4) return cuda::pack_window(dense, kPad);
  return dense;
}

}  // namespace

extern const GpuKernel positional_cuda_mma;
const GpuKernel positional_cuda_mma{.name = "positional_cuda_mma",
                                    .family = "positional",
                                    .accepts = accepts,
                                    .tactics = tactics,
                                    .generate = generate,
                                    .pack = pack};

}  // namespace vitrail
