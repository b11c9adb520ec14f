// SPDX-License-Identifier: Apache-2.0
// The fused inverted block on tensor cores, for 16-bit operands.
#include <algorithm>

#include "base/round.h"
#include "kernels/cuda/mma_tiles.h"
#include "kernels/inverted/bind.h"
#include "kernels/inverted/family.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int64_t kMostChannels = 128, kMostTaps = 9, kMostStride = 2, kPad = 16, kResident = 4;
int64_t extent(const Operand& operand, size_t axis) { return operand.dims[axis].constant(); }

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.size() < 6 || problem.outputs.empty())
    return "inverted has six inputs, epilogue operands and an output";
  if (problem.epilogue_inputs < 6) return "epilogue operands start at input 6";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand &x = problem.inputs[0], &w1 = problem.inputs[1], &dw = problem.inputs[3],
                &w2 = problem.inputs[5];
  const Shape& out = problem.outputs[0].dims;
  if (x.dims.size() != 4 || out.size() != 4) return "x and the output need 4 axes";
  if (x.dtype == DType::f32 || w1.dtype != x.dtype || dw.dtype != x.dtype || w2.dtype != x.dtype)
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

/// ty x tx pixels of a block, mt 16-pixel tiles of a warp, wk warps that share them, ec hidden
/// channels at a time; form 1: inverted_pair.cuh, 2: with half of the warps in the other order.
struct Tile {
  int64_t ty, tx, mt, wk, ec, form = 0;
  int64_t threads() const { return ty * tx * 2 / mt * wk; }
};
constexpr Tile kTiles[] = {{16, 16, 2, 1, 32}, {16, 16, 1, 1, 32}, {16, 32, 2, 1, 32},
                           {8, 32, 2, 1, 32},  {8, 32, 1, 1, 32},  {8, 16, 1, 2, 32},
                           {8, 16, 1, 1, 32},  {16, 16, 2, 2, 32}, {8, 16, 2, 2, 32},
                           {8, 8, 1, 2, 32},   {8, 8, 1, 4, 64},   {8, 16, 1, 4, 64}};

int64_t border_pixels(const Problem& p, const Tile& t) {
  const int64_t s = p.integer("stride_h", 1);
  return round_up(
      ((t.ty - 1) * s + extent(p.inputs[3], 2)) * ((t.tx - 1) * s + extent(p.inputs[3], 3)), 16);
}
int64_t shared_of(const Problem& p, const Tile& t) {
  const int64_t c = round_up(extent(p.inputs[1], 0), 16), o = round_up(extent(p.inputs[5], 1), 16),
                taps = extent(p.inputs[3], 2) * extent(p.inputs[3], 3);
  const int64_t pixels = border_pixels(p, t);
  const int64_t weights =
      c * (t.ec + 8) * 2 + t.ec * (o + 8) * 2 + cuda::window_elements(t.ec, taps) * 2;
  const int64_t chunks = round_up(extent(p.inputs[1], 1), t.ec) / t.ec;
  const int64_t biases = t.form ? 2 * chunks * t.ec * 4 : 0;
  return std::max(pixels * (c + 8) * 2 + 2 * pixels * (t.ec + 8) * 2 +
                      (chunks <= kResident ? chunks : 2) * weights + biases,
                  t.ty * t.tx * (o + 4) * 4);
}
/// Whether the kernel is written for the tile: groups of channels spread over warps, a bit for each
/// of a lane's border pixels, accumulators in registers.
bool usable(const Problem& p, const Tile& t, const GpuMachine& machine) {
  const int64_t warps = t.threads() / 32, groups = t.ec / 16,
                o = round_up(extent(p.inputs[5], 1), 16);
  constexpr int64_t kMostTiles = 16, kMostColumns = 128;
  // The pair form reads biases before its predecessor ends.
  const bool biases = p.inputs[2].constant && p.inputs[4].constant;
  const bool three =
      extent(p.inputs[3], 2) == 3 && extent(p.inputs[3], 3) == 3 && p.integer("stride_h", 1) == 1;
  if (t.form != 0 && (!biases || !three || t.mt > 2 || (t.mt == 2 && t.tx % 16 != 0))) return false;
  return warps % groups == 0 && groups % t.wk == 0 && t.threads() <= 512 &&
         t.mt * o <= kMostColumns &&
         round_up(border_pixels(p, t) / 16, warps / groups) / (warps / groups) <= kMostTiles &&
         shared_of(p, t) <= machine.shared_bytes;
}
int64_t resident(const Problem& p, const Tile& t, const GpuMachine& machine) {
  return std::max<int64_t>(
      1, std::min<int64_t>(machine.shared_bytes / (shared_of(p, t) + 1024), 512 / t.threads()));
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Problem& p = *problem.problem;
  const Dims& out = problem.outputs[0].dims;
  std::vector<std::pair<double, Tile>> found;
  for (const Tile& t : kTiles) {
    if (!usable(p, t, machine)) continue;
    const int64_t blocks = out[0] * ceil_div(out[1], t.ty) * ceil_div(out[2], t.tx);
    const int64_t per_sm = ceil_div(blocks, machine.multiprocessors);
    // Fitted to 59 timings of form 0 on an H200, to 5 %: pixels of the border count, few warps
    // leave a multiprocessor idle, and so do few blocks at their barriers.
    const auto together = static_cast<double>(std::min(per_sm, resident(p, t, machine)));
    const double warps = together * static_cast<double>(t.threads()) / 32;
    found.emplace_back(static_cast<double>(per_sm) *
                           (static_cast<double>(border_pixels(p, t)) * 7 +
                            static_cast<double>(t.ty * t.tx) / static_cast<double>(t.mt)) *
                           (1 + 3.5 / warps) * (1 + 0.73 / together) * (t.wk > 1 ? 1.1 : 1),
                       t);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Tactic> list;
  const auto add = [&](int64_t form) {
    for (auto& [cost, t] : found) {
      t.form = form;
      if (usable(p, t, machine))
        list.push_back(
            {{"ty", t.ty}, {"tx", t.tx}, {"mt", t.mt}, {"wk", t.wk}, {"ec", t.ec}, {"form", form}});
    }
  };
  add(1), add(2);
  // Takes any window; where the others can be, it was slower with every tile on an H200.
  if (list.empty()) add(0);
  if (list.empty()) list.push_back({{"ty", 4}, {"tx", 8}, {"mt", 1}, {"wk", 1}, {"ec", 32}});
  return list;
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine& machine) {
  Tile t{8, 16, 1, 1, 32};
  for (const auto& [key, value] :
       {std::pair{"ty", &t.ty}, std::pair{"tx", &t.tx}, std::pair{"mt", &t.mt},
        std::pair{"wk", &t.wk}, std::pair{"ec", &t.ec}, std::pair{"form", &t.form}})
    if (const auto found = tactic.find(key); found != tactic.end()) *value = found->second;
  const Operand &x = problem.inputs[0], &dw = problem.inputs[3];
  const Operand& out = problem.outputs[0];
  const int64_t e = extent(problem.inputs[1], 1), o = extent(problem.inputs[5], 1);
  SourceText text(problem);
  text.include("mma.cuh");
  text.tail(cuda::tail_width(problem));
  text.include("window.cuh");
  text.add(std::string(cuda::device_header("inverted.cuh")));
  if (t.form != 0) text.add(std::string(cuda::device_header("inverted_pair.cuh")));
  const auto n = [&](const Expr& expr) { return text.number(expr); };
  std::string config = fmt::format(
      "struct Cfg {{\n  typedef {} T;\n  static constexpr int C = {}, E = {}, O = {}, EP = {}, TY "
      "= {}, TX = {}, MT = {}, WK = {}, EC = {}, RESIDENT = {}, S = {}, KH = {}, KW = {}, PT = {}, "
      "PL = {}, VX = "
      "{}, SHARED = {};\n"
      "  static constexpr bool NORM = {}, WHOLE = {}, ALTERNATE = {};\n  static __device__ "
      "__forceinline__ float "
      "eps() {{ "
      "return {}; }}\n",
      cuda::c_type(x.dtype), extent(problem.inputs[1], 0), e, o, round_up(e, kPad), t.ty, t.tx,
      t.mt, t.wk, t.ec, kResident, problem.integer("stride_h", 1), extent(dw, 2), extent(dw, 3),
      problem.integer("pad_top", 0), problem.integer("pad_left", 0),
      cuda::vector_width(problem, false, 0), shared_of(problem, t),
      problem.integer("normalize", 0) ? "true" : "false", cuda::whole_rows(problem, false, 0, 8),
      t.form == 2, cuda::literal(problem.number("eps", 1e-5)));
  if (t.form != 0)
    config += "  static __device__ __forceinline__ float gelu() { return vt_gelu_sum_first(); }\n";
  for (const auto& [name, key, imm] :
       {std::tuple{"first", "activation1", "imm1"}, std::tuple{"second", "activation2", "imm2"}}) {
    const Pointwise op = inverted_activation(problem, key);
    PointwiseProgram program;
    if (op != Pointwise::constant)
      program.code = {{op, 0, 0, static_cast<float>(problem.number(imm, 1))}};
    config += fmt::format(
        "  static __device__ __forceinline__ float {}(float r0, float gelu) {{\n{}  }}\n", name,
        op == Pointwise::gelu
            ? fmt::format("    return {}(r0, gelu);\n",
                          t.form != 0 ? "vt_gelu_sum" : "vt_gelu_inner")
            : fmt::format("{}    return r{};\n", cuda::program_text(program, "r", true),
                          program.code.size()));
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
  const int threads = static_cast<int>(t.threads());
  text.entry("inverted", threads,
             t.form != 0 ? "  InvertedPair<Cfg>::run(a);\n" : "  Inverted<Cfg>::run(a);\n",
             static_cast<int>(resident(problem, t, machine)));
  return text.finish(
      {{.entry = "inverted",
        .grid = {ceildiv(out.dims[2], t.tx) * ceildiv(out.dims[1], t.ty) * out.dims[0], 1, 1},
        .threads = threads,
        .shared_bytes = shared_of(problem, t)}});
}

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  const Dims& d = dense.dims();
  if (index == 1 || index == 5)
    return cuda::pack_rows(dense.data<float>(), d[0], d[1], d[1], 1, kPad);
  if (index == 3) return cuda::pack_window(dense, kPad);
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
