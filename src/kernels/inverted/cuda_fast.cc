// SPDX-License-Identifier: Apache-2.0
// The fused inverted block on tensor cores, for 16-bit operands.
#include <algorithm>

#include "kernels/cuda/mma_tiles.h"
#include "kernels/inverted/bind.h"
#include "kernels/inverted/family.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int64_t kMostChannels = 128, kMostTaps = 9, kMostStride = 2, kChunk = 32, kPad = 16;
int64_t extent(const Operand& operand, size_t axis) { return operand.dims[axis].constant(); }
int64_t ceil_to(int64_t n, int64_t grain) { return (n + grain - 1) / grain * grain; }

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.size() < 6 || problem.outputs.empty())
    return "inverted has six inputs, epilogue operands and an output";
  if (problem.epilogue_inputs < 6) return "epilogue operands start at input 6";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand &x = problem.inputs[0], &w1 = problem.inputs[1], &dw = problem.inputs[3],
                &w2 = problem.inputs[5];
  const Shape& out = problem.outputs[0].dims;
  if (x.dims.size() != 4 || out.size() != 4) return "x and the output need 4 axes";
  if (x.dtype == DType::f32 || w1.dtype != x.dtype || w2.dtype != x.dtype)
    return "x and the weights are not of one 16-bit type";
  for (size_t i : {1, 3, 5})
    if (!problem.inputs[i].constant || !is_static(problem.inputs[i].dims))
      return "a weight is not constant";
  if (w1.dims.size() != 2 || w2.dims.size() != 2 || dw.dims.size() != 4)
    return "weights of other ranks";
  if (!x.dims[3].is_constant() || !out[3].is_constant() || !x.strides[3].is(1))
    return "channels are not constant or not adjacent";
  if (w1.dims[0] != x.dims[3] || dw.dims[0] != w1.dims[1] || w2.dims[0] != w1.dims[1] ||
      w2.dims[1] != out[3] || !dw.dims[1].is(1))
    return "extents do not match";
  for (size_t i : {2, 4})
    if (problem.inputs[i].dims != Shape{w1.dims[1]} || !problem.inputs[i].strides[0].is(1))
      return "a bias is not [e]";
  if (extent(w1, 0) > kMostChannels || extent(w2, 1) > kMostChannels || extent(w1, 0) < 1 ||
      extent(w2, 1) < 1 || extent(w1, 1) < 1)
    return fmt::format("more than {} channels", kMostChannels);
  if (extent(dw, 2) * extent(dw, 3) > kMostTaps) return "a window of more than nine taps";
  if (problem.integer("stride_h", 1) != problem.integer("stride_w", 1) ||
      problem.integer("stride_h", 1) > kMostStride)
    return "a stride above 2";
  return {};
}

struct Tile {
  int64_t ty, tx, wn;
};
constexpr Tile kTiles[] = {{8, 8, 1},  {8, 8, 2},  {8, 16, 1},  {8, 16, 2},
                           {4, 16, 1}, {4, 16, 2}, {16, 16, 1}, {4, 8, 2}};

struct Sizes {
  int64_t threads, shared;
};
Sizes sizes_of(const Problem& p, const Tile& t) {
  const int64_t s = p.integer("stride_h", 1), c = ceil_to(extent(p.inputs[1], 0), 16),
                o = ceil_to(extent(p.inputs[5], 1), 16);
  const int64_t pixels = t.ty * t.tx;
  const int64_t border = ceil_to(
      ((t.ty - 1) * s + extent(p.inputs[3], 2)) * ((t.tx - 1) * s + extent(p.inputs[3], 3)), 16);
  const int64_t weights = c * (kChunk + 8) * 2 + kChunk * (o + 8) * 2;
  const int64_t pipeline =
      border * (c + 8) * 2 + border * (kChunk + 8) * 2 + pixels * (kChunk + 8) * 2 + 2 * weights;
  return {pixels * 2 * t.wn, std::max(pipeline, pixels * (o + 4) * 4)};
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Problem& p = *problem.problem;
  const Dims& out = problem.outputs[0].dims;
  std::vector<std::pair<double, Tile>> found;
  for (const Tile& t : kTiles) {
    const Sizes sizes = sizes_of(p, t);
    // 512 threads have 128 registers each, too few for many channels' accumulators.
    if (sizes.shared > machine.shared_bytes ||
        (sizes.threads / t.wn > 256 && extent(p.inputs[5], 1) > 64))
      continue;
    const int64_t s = p.integer("stride_h", 1);
    const double border = static_cast<double>(((t.ty - 1) * s + extent(p.inputs[3], 2)) *
                                              ((t.tx - 1) * s + extent(p.inputs[3], 3)));
    const int64_t blocks = out[0] * ((out[1] + t.ty - 1) / t.ty) * ((out[2] + t.tx - 1) / t.tx);
    const int64_t resident = std::max<int64_t>(
        1, std::min<int64_t>(machine.shared_bytes / (sizes.shared + 1024), 1024 / sizes.threads));
    const int64_t per_sm = (blocks + machine.multiprocessors - 1) / machine.multiprocessors;
    // Activations and the window dominate; few warps on a multiprocessor leave half of its slots
    // empty, and barriers of large blocks that have it to themselves leave all empty for a while.
    const double warps = static_cast<double>(std::min(per_sm, resident) * sizes.threads) / 32;
    const double barriers =
        static_cast<double>(sizes.threads) / 640 / static_cast<double>(resident);
    found.emplace_back(static_cast<double>(per_sm) *
                           (border * 14 + static_cast<double>(t.ty * t.tx) * 40) * (1 + 8 / warps) *
                           (1 + barriers),
                       t);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Tactic> list;
  for (const auto& [cost, t] : found) list.push_back({{"ty", t.ty}, {"tx", t.tx}, {"wn", t.wn}});
  if (list.empty()) list.push_back({{"ty", 4}, {"tx", 4}, {"wn", 1}});
  return list;
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine&) {
  Tile t{8, 16, 1};
  if (tactic.count("ty")) t.ty = tactic.at("ty");
  if (tactic.count("tx")) t.tx = tactic.at("tx");
  if (tactic.count("wn")) t.wn = tactic.at("wn");
  const Operand &x = problem.inputs[0], &dw = problem.inputs[3];
  const Operand& out = problem.outputs[0];
  const Sizes sizes = sizes_of(problem, t);
  const int64_t e = extent(problem.inputs[1], 1), o = extent(problem.inputs[5], 1);
  SourceText text(problem);
  text.include("mma.cuh");
  text.tail(cuda::tail_width(problem));
  text.add(std::string(cuda::device_header("inverted.cuh")));
  const auto n = [&](const Expr& expr) { return text.number(expr); };
  std::string config = fmt::format(
      "struct Cfg {{\n  typedef {} T;\n  static constexpr int C = {}, E = {}, O = {}, EP = {}, TY "
      "= {}, TX = {}, WN = {}, S = {}, KH = {}, KW = {}, PT = {}, PL = {}, VX = {};\n"
      "  static constexpr bool NORM = {};\n  static __device__ __forceinline__ float eps() {{ "
      "return {}; }}\n",
      cuda::c_type(x.dtype), extent(problem.inputs[1], 0), e, o, ceil_to(e, kPad), t.ty, t.tx, t.wn,
      problem.integer("stride_h", 1), extent(dw, 2), extent(dw, 3), problem.integer("pad_top", 0),
      problem.integer("pad_left", 0), cuda::vector_width(problem, false, 0),
      problem.integer("normalize", 0) ? "true" : "false",
      cuda::literal(problem.number("eps", 1e-5)));
  for (const auto& [name, key, imm] :
       {std::tuple{"first", "activation1", "imm1"}, std::tuple{"second", "activation2", "imm2"}}) {
    const Pointwise op = inverted_activation(problem, key);
    PointwiseProgram program;
    if (op != Pointwise::constant)
      program.code = {{op, 0, 0, static_cast<float>(problem.number(imm, 1))}};
    config += fmt::format(
        "  static __device__ __forceinline__ float {}(float r0) {{\n{}    return r{};\n  }}\n",
        name, cuda::program_text(program, "r", true), program.code.size());
  }
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
  const int threads = static_cast<int>(sizes.threads);
  text.entry("inverted", threads, "  Inverted<Cfg>::run(a);\n", 1);
  return text.finish(
      {{.entry = "inverted",
        .grid = {ceildiv(out.dims[2], t.tx) * ceildiv(out.dims[1], t.ty) * out.dims[0], 1, 1},
        .threads = threads,
        .shared_bytes = sizes.shared}});
}

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  const Dims& d = dense.dims();
  if (index == 1 || index == 5)
    return cuda::pack_rows(dense.data<float>(), d[0], d[1], d[1], 1, kPad);
  // The window's taps as rows of channels.
  if (index == 3)
    return cuda::pack_rows(dense.data<float>(), d[2] * d[3], d[0], 1, d[2] * d[3], kPad);
  return dense;
}

}  // namespace

extern const GpuKernel inverted_cuda_mma;
const GpuKernel inverted_cuda_mma{.name = "inverted_cuda_mma",
                                  .family = "inverted",
                                  .accepts = accepts,
                                  .tactics = tactics,
                                  .generate = generate,
                                  .pack = pack};

}  // namespace vitrail
