// SPDX-License-Identifier: Apache-2.0
// A transposed convolution whose windows do not overlap, on tensor cores: for each tap a product of
// the pixels with the tap's weights, whose results are every stride-th output. So the output is
// [taps along h, taps along w, n, h, w, o] in other strides, and the product has a batch index, the
// tap.
#include "kernels/conv/cuda.h"
#include "kernels/conv/taps.h"
#include "kernels/conv_transpose/family.h"
#include "kernels/cuda/mma_tiles.h"

namespace vitrail {
namespace {
using cuda::GemmShape;
using cuda::GemmTile;
using cuda::SourceText;

Refusal accepts(const Problem& p, const GpuMachine&) {
  if (Refusal why = conv_cuda_accepts(p, true); !why.empty()) return why;
  const ConvInts ints(p);
  const Operand &x = p.inputs[0], &w = p.inputs[1];
  if (w.dtype == DType::f32 || x.dtype != w.dtype) return "image and weight are not of 16 bits";
  if (ints.group != 1 || ints.dilation_h != 1 || ints.dilation_w != 1 || ints.pad_top != 0 ||
      ints.pad_left != 0 || !w.dims[2].is(ints.stride_h) || !w.dims[3].is(ints.stride_w))
    return "windows are not the output's pieces";
  if (!x.dims[3].is_constant() || !x.strides[3].is(1)) return "channels are not side by side";
  for (const Operand& out : p.outputs)
    if (out.dims !=
        Shape{x.dims[0], x.dims[1] * ints.stride_h, x.dims[2] * ints.stride_w, w.dims[1]})
      return "the output has other extents than the windows";
  return {};
}

/// The problem with outputs and the epilogue's operands by taps.
Problem by_taps(Problem p) {
  const ConvInts ints(p);
  const Shape& x = p.inputs[0].dims;
  const auto view = [&](Operand& o) {
    const Shape d = o.dims, s = o.strides;
    o.dims = {ints.stride_h, ints.stride_w, x[0], x[1], x[2], d[3]};
    o.strides = {s[1], s[2], s[0], s[1] * ints.stride_h, s[2] * ints.stride_w, s[3]};
  };
  for (Operand& o : p.outputs) view(o);
  for (size_t i = static_cast<size_t>(p.epilogue_inputs); i < p.inputs.size(); ++i)
    view(p.inputs[i]);
  return p;
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Dims& out = problem.outputs[0].dims;
  std::vector<Tactic> list = cuda::gemm_tactics(out[0] * out[1] * out[2], out[3],
                                                problem.inputs[0].dims[3], 2, false, machine);
  // K is short: its sums are not shared among blocks.
  std::erase_if(list, [](const Tactic& t) { return t.contains("early"); });
  return list;
}

GpuCode generate(const Problem& original, const Tactic& tactic, const GpuMachine&) {
  const Problem problem = by_taps(original);
  const Operand &x = problem.inputs[0], &w = problem.inputs[1];
  constexpr int kElement = 2;
  constexpr int64_t kGrain = 8;  // of the packed weight (conv_cuda_pack)
  const GemmTile tile = GemmTile::from(tactic, kElement);
  GemmShape shape{};
  shape.dtype = w.dtype;
  shape.n = w.dims[1].constant();
  shape.nb = (shape.n + kGrain - 1) / kGrain * kGrain;
  shape.k = x.dims[3].constant();
  shape.constant = false;
  shape.va = cuda::vector_width(problem, false, 0);
  shape.vb = 16 / kElement;
  shape.passes = 1;
  const int64_t depth = shape.k < kGrain ? shape.k : (shape.k + kGrain - 1) / kGrain * kGrain;

  SourceText text(problem);
  text.include("mma.cuh");
  const Expr pixels = cuda::rows_of(x), taps = w.dims[2] * w.dims[3];
  const std::string t = cuda::c_type(x.dtype);
  text.add(fmt::format(R"(struct Rows {{
  struct Row {{ const {0}* p; bool valid; }};
  struct Tap {{ int k, count; }};
  static __device__ __forceinline__ Row row(const Args& a, int m, bool valid) {{
    const int pixel = m % {1};
    return {{a.in0 + {2}, valid}};
  }}
  static __device__ __forceinline__ Tap tap(const Args&, int k) {{ return {{k, {3} - k < {4} ? {3} - k : {4}}}; }}
  static __device__ __forceinline__ const {0}* at(const Args&, const Row& row, const Tap& tap, int& count) {{
    count = row.valid && tap.count > 0 ? tap.count : 0;
    return row.p + (count ? tap.k : 0);
  }}
}};
struct Cols {{
  static __device__ __forceinline__ const {0}* row(const Args& a, int batch, int k) {{ return a.in1 + (batch * {5} + k) * {6}; }}
}};
)",
                       t, text.number(pixels), text.row_offset(x, "pixel"), shape.k, shape.va,
                       depth, shape.nb));
  cuda::add_gemm(text, problem, tile, shape, text.number(pixels));
  return text.finish({cuda::gemm_launch(tile, shape, pixels, taps)});
}

}  // namespace

extern const GpuKernel conv_transpose_cuda_mma;
const GpuKernel conv_transpose_cuda_mma{
    .name = "conv_transpose_cuda_mma",
    .family = "conv_transpose",
    .accepts = accepts,
    .tactics = tactics,
    .generate = generate,
    .pack = [](const Problem& p, size_t index, const Tensor& dense) {
      return index == 1 ? conv_cuda_pack(p, true, dense) : dense;
    }};

}  // namespace vitrail
