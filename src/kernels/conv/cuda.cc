// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/cuda.h"

#include <algorithm>

#include "base/round.h"
#include "kernels/conv/bind.h"
#include "kernels/conv/taps.h"
#include "kernels/cuda/tiles.h"

namespace vitrail {
namespace {
using namespace cuda;

// Extents that the packed weight and the source share.
struct Shape4 {
  std::vector<TapGrid> grids;
  int64_t rows = 0, cols = 0;  ///< taps of the largest phase; others have zero weights
  int64_t group, group_c, group_o, padded_c, padded_o;

  Shape4(const Problem& p, bool transposed) : grids(tap_grids(p, transposed)) {
    const Dims w = to_dims(p.inputs[1].dims);
    group = p.integer("group", 1);
    group_c = transposed ? w[0] / group : w[1];
    group_o = transposed ? w[1] : w[0] / group;
    constexpr int64_t kChunk = 8;
    padded_c = group_c < kChunk ? group_c : round_up(group_c, kChunk);
    padded_o = round_up(group_o, kChunk);
    for (const TapGrid& g : grids) {
      rows = std::max<int64_t>(rows, static_cast<int64_t>(g.rows.size()));
      cols = std::max<int64_t>(cols, static_cast<int64_t>(g.cols.size()));
    }
  }
  int64_t depth() const { return rows * cols * padded_c; }
};

// Offset of tap i as C text of (phase, i): affine in i in every phase.
std::string tap_text(const std::vector<TapGrid>& grids, bool rows) {
  std::string out;
  for (size_t g = 0; g < grids.size(); ++g) {
    const auto& taps = rows ? grids[g].rows : grids[g].cols;
    const int64_t first = taps.empty() ? 0 : taps[0].offset,
                  step = taps.size() < 2 ? 0 : taps[1].offset - first;
    const std::string one = fmt::format("{} + i * {}", first, step);
    out += g + 1 == grids.size() ? one : fmt::format("phase == {} ? {} : ", g, one);
  }
  return out;
}
}  // namespace

Refusal conv_cuda_accepts(const Problem& p, bool transposed) {
  if (p.inputs.size() < 2 || p.epilogue_inputs != 2) return "epilogue_inputs is not 2";
  if (!p.inputs[1].constant || !is_static(p.inputs[1].dims) || p.inputs[1].dims.size() != 4 ||
      p.inputs[0].dims.size() != 4)
    return "not a two-dimensional window with a constant weight";
  const int64_t group = p.integer("group", 1);
  if (group < 1 || p.inputs[1].dims[0].constant() % group != 0) return "groups do not fit";
  if (transposed && (p.integer("dilation_h", 1) != 1 || p.integer("dilation_w", 1) != 1) &&
      (p.integer("stride_h", 1) != 1 || p.integer("stride_w", 1) != 1))
    return "a transposed convolution with stride and dilation";
  const Shape4 s(p, transposed);
  constexpr size_t kMostPhases = 64;
  if (s.grids.size() > kMostPhases) return "too many phases";
  for (const TapGrid& g : s.grids)
    for (const auto* taps : {&g.rows, &g.cols})
      for (size_t i = 2; i < taps->size(); ++i)
        if ((*taps)[i].offset - (*taps)[i - 1].offset != (*taps)[1].offset - (*taps)[0].offset)
          return "taps are not evenly spaced";
  return check_float_operands(p);
}

Tensor conv_cuda_pack(const Problem& p, bool transposed, const Tensor& dense) {
  const Shape4 s(p, transposed);
  const Dims& d = dense.dims();
  Tensor out(DType::f32, {static_cast<int64_t>(s.grids.size()), s.group, s.depth(), s.padded_o});
  float* to = out.mutable_data<float>();
  const float* from = dense.data<float>();
  for (const TapGrid& grid : s.grids)
    for (int64_t g = 0; g < s.group; ++g)
      for (int64_t r = 0; r < s.rows; ++r)
        for (int64_t q = 0; q < s.cols; ++q)
          for (int64_t c = 0; c < s.padded_c; ++c)
            for (int64_t j = 0; j < s.padded_o; ++j, ++to) {
              *to = 0;
              if (r >= static_cast<int64_t>(grid.rows.size()) ||
                  q >= static_cast<int64_t>(grid.cols.size()) || c >= s.group_c || j >= s.group_o)
                continue;
              const int64_t first = transposed ? g * s.group_c + c : g * s.group_o + j,
                            second = transposed ? j : c;
              *to =
                  from[((first * d[1] + second) * d[2] + grid.rows[static_cast<size_t>(r)].kernel) *
                           d[3] +
                       grid.cols[static_cast<size_t>(q)].kernel];
            }
  return out;
}

std::vector<Tactic> conv_cuda_tactics(const BoundProblem& p, bool transposed,
                                      const GpuMachine& machine) {
  const Dims& out = p.outputs[0].dims;
  const auto phases = static_cast<int64_t>(Shape4(*p.problem, transposed).grids.size()),
             group = p.problem->integer("group", 1);
  return tile_tactics(p.inputs[1].dtype, out[0] * out[1] * out[2] / phases + 1, out[3] / group,
                      phases * group, machine);
}

GpuCode conv_cuda_generate(const Problem& p, bool transposed, const Tactic& tactic) {
  const DType type = compute_type(p);
  const Tile tile = tile_of(tactic, type);
  const Shape4 s(p, transposed);
  const ConvInts ints(p);
  const Operand &x = p.inputs[0], &out = p.outputs[0];
  const int chunk = 16 / static_cast<int>(size_of(type));
  const bool a16 = x.dtype == type && s.group_c >= 8 && (s.group == 1 || s.group_c % chunk == 0) &&
                   vector_width(p, false, 0) >= chunk;
  const int64_t step_h = transposed ? ints.stride_h : 1, step_w = transposed ? ints.stride_w : 1;
  const int64_t in_h = transposed ? 1 : ints.stride_h, in_w = transposed ? 1 : ints.stride_w;
  const Expr grid_h = ceildiv(out.dims[1], step_h), grid_w = ceildiv(out.dims[2], step_w),
             rows = out.dims[0] * grid_h * grid_w;

  SourceText text(p);
  text.tail(s.group > 1 && s.group_o % 2 != 0 ? 1 : std::min(2, tail_width(p, 8)));
  text.include("gemm.cuh");
  std::string firsts_h, firsts_w;
  for (size_t g = 0; g < s.grids.size(); ++g) {
    firsts_h += fmt::format("{}{}", g ? ", " : "", s.grids[g].out_h);
    firsts_w += fmt::format("{}{}", g ? ", " : "", s.grids[g].out_w);
  }
  const auto n = [&](const Expr& e) { return text.number(e); };
  std::string t =
      fmt::format("__constant__ int kFirstH[] = {{{}}}, kFirstW[] = {{{}}};\n", firsts_h, firsts_w);
  t += "struct P {\n" + tile_members(p, tile, a16, true, !x.strides[3].is(1), true);
  t += fmt::format(
      "  static __device__ __forceinline__ int phase() {{ return (int)blockIdx.y / {0}; }}\n  "
      "static __device__ __forceinline__ int group() {{ return (int)blockIdx.y % {0}; }}\n"
      "  static __device__ __forceinline__ int tap_h(int phase, int i) {{ return {1}; }}\n  static "
      "__device__ __forceinline__ int tap_w(int phase, int i) {{ return {2}; }}\n"
      "  static __device__ int rows(const Args& a) {{ return {3}; }}\n  static __device__ int "
      "cols(const Args& a) {{ return {4}; }}\n"
      "  static __device__ int depth(const Args& a) {{ return {5}; }}\n  static __device__ "
      "__forceinline__ int first_col(const Args& a) {{ return group() * {4}; }}\n",
      s.group, tap_text(s.grids, true), tap_text(s.grids, false), n(rows), s.group_o, s.depth());
  t += fmt::format(
      "  struct Row {{ const {0}* from; int y, x; }};\n"
      "  static __device__ __forceinline__ Row row(const Args& a, int r) {{\n"
      "    if (r >= {1}) return {{nullptr, 0, 0}};\n"
      "    const int qx = r % {2}, rest = r / {2}, qy = rest % {3}, image = rest / {3};\n"
      "    return {{a.in0 + image * {4} + group() * {5} * {6}, qy * {7}, qx * {8}}};\n  }}\n",
      c_type(x.dtype), n(rows), n(grid_w), n(grid_h), n(x.strides[0]), s.group_c, n(x.strides[3]),
      in_h, in_w);
  t += fmt::format(
      "  static __device__ __forceinline__ const {0}* at(const Args& a, const Row& row, int k, "
      "int& c) {{\n"
      "    const int tap = k / {1};\n    c = k % {1};\n"
      "    const int y = row.y + tap_h(phase(), tap / {2}), x = row.x + tap_w(phase(), tap % "
      "{2});\n"
      "    const bool inside = row.from && k < {3} && y >= 0 && y < {4} && x >= 0 && x < {5};\n"
      "    return inside ? row.from + y * {6} + x * {7} + c * {8} : nullptr;\n  }}\n"
      "  static __device__ __forceinline__ const {0}* a_at(const Args& a, const Row& row, int k, "
      "int& count) {{\n"
      "    int c;\n    const {0}* from = at(a, row, k, c);\n    count = from ? {9} - c : 0;\n    "
      "return from ? from : a.in0;\n  }}\n"
      "  static __device__ __forceinline__ float a_one(const Args& a, const Row& row, int k) {{\n"
      "    int c;\n    const {0}* from = at(a, row, k, c);\n    return from && c < {9} ? "
      "vt_float(*from) : 0.0f;\n  }}\n",
      c_type(x.dtype), s.padded_c, s.cols, s.depth(), n(x.dims[1]), n(x.dims[2]), n(x.strides[1]),
      n(x.strides[2]), n(x.strides[3]), s.group_c);
  t += fmt::format(
      "  static __device__ __forceinline__ const {0}* b_at(const Args& a, int k, int n, int& "
      "count) {{\n"
      "    count = k < {1} ? {2} - n : 0;\n    return count > 0 ? a.in1 + ((int)blockIdx.y * {1} + "
      "k) * {2} + n : a.in1;\n  }}\n"
      "  static __device__ float b_one(const Args&, int, int) {{ return 0; }}\n"
      "  static __device__ __forceinline__ int out_row(const Args& a, int r) {{\n"
      "    if (r >= {3}) return -1;\n    const int qx = r % {4}, rest = r / {4}, qy = rest % {5}, "
      "image = rest / {5};\n"
      "    const int y = kFirstH[phase()] + qy * {6}, x = kFirstW[phase()] + qx * {7};\n"
      "    return y < {8} && x < {9} ? (image * {8} + y) * {9} + x : -1;\n  }}\n}};\n",
      c_type(type), s.depth(), s.padded_o, n(rows), n(grid_w), n(grid_h), step_h, step_w,
      n(out.dims[1]), n(out.dims[2]));
  text.add(t);
  add_tile_entry(text, tile, s.group_o);
  return text.finish(
      {tile_launch(tile, type, rows, s.group_o, static_cast<int64_t>(s.grids.size()) * s.group)});
}

extern const GpuKernel conv_cuda;
const GpuKernel conv_cuda{
    .name = "conv_cuda",
    .family = "conv",
    .accepts = [](const Problem& p, const GpuMachine&) { return conv_cuda_accepts(p, false); },
    .tactics = [](const BoundProblem& p,
                  const GpuMachine& machine) { return conv_cuda_tactics(p, false, machine); },
    .generate = [](const Problem& p, const Tactic& tactic,
                   const GpuMachine&) { return conv_cuda_generate(p, false, tactic); },
    .pack =
        [](const Problem& p, size_t index, const Tensor& dense) {
          return index == 1 ? conv_cuda_pack(p, false, dense) : dense;
        }};

}  // namespace vitrail
