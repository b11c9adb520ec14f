// SPDX-License-Identifier: Apache-2.0
// Convolution as a matrix product on tensor cores whose A is the image: element (pixel, tap and
// channel) is fetched from where it lies, zero outside.
#include <algorithm>

#include "kernels/conv/cuda.h"
#include "kernels/conv/family.h"
#include "kernels/conv/taps.h"
#include "kernels/cuda/mma_tiles.h"

namespace vitrail {
namespace {
using cuda::GemmShape;
using cuda::GemmTile;
using cuda::SourceText;

/// Channels of a tap in the product's depth: whole 16-byte copies where there are enough.
int64_t padded_channels(int64_t c) {
  constexpr int64_t kGrain = 8;
  return c < kGrain ? c : (c + kGrain - 1) / kGrain * kGrain;
}
int64_t extent(const Operand& operand, size_t axis) { return operand.dims[axis].constant(); }

}  // namespace

Refusal conv_cuda_mma_accepts(const Problem& problem) {
  if (problem.inputs.size() < 2 || problem.outputs.empty())
    return "conv needs x, a weight and an output";
  if (problem.epilogue_inputs < 2) return "epilogue operands start at input 2";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand &x = problem.inputs[0], &w = problem.inputs[1], &out = problem.outputs[0];
  if (x.dims.size() != 4 || out.dims.size() != 4 || w.dims.size() != 4)
    return "x, weight and output need 4 axes";
  // A float32 image is rounded on its way to shared memory.
  if (x.dtype != w.dtype && x.dtype != DType::f32)
    return fmt::format("x is {} and the weight {}", name_of(x.dtype), name_of(w.dtype));
  if (x.constant || !w.constant || !is_static(w.dims)) return "the weight is not constant";
  if (problem.integer("group", 1) != 1) return "more than one group";
  if (!x.dims[3].is_constant() || !out.dims[3].is_constant()) return "channels are not constant";
  if (w.dims[1] != x.dims[3] || w.dims[0] != out.dims[3] || x.dims[0] != out.dims[0])
    return "extents do not match";
  for (size_t d = 0; d < 4; ++d)
    if (w.dims[d].is(0)) return "an empty weight";
  return {};
}

namespace {
std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Dims &out = problem.outputs[0].dims, &w = problem.inputs[1].dims;
  return cuda::gemm_tactics(out[0] * out[1] * out[2], out[3], w[2] * w[3] * padded_channels(w[1]),
                            static_cast<int>(size_of(problem.inputs[1].dtype)), true, machine);
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine&) {
  const Operand &x = problem.inputs[0], &w = problem.inputs[1], &out = problem.outputs[0];
  const int element = static_cast<int>(size_of(w.dtype));
  const ConvInts ints(problem);
  const int64_t c = extent(w, 1), wide = padded_channels(c);
  GemmShape shape{};
  shape.dtype = w.dtype;
  shape.n = extent(w, 0);
  shape.nb = (shape.n + cuda::kGemmPad - 1) / cuda::kGemmPad * cuda::kGemmPad;
  shape.k = extent(w, 2) * extent(w, 3) * wide;
  shape.constant = true;
  shape.va = x.dtype == w.dtype ? cuda::vector_width(problem, false, 0) : 1;
  while (wide % shape.va != 0) shape.va /= 2;
  shape.vb = 16 / element;
  shape.passes = problem.integer("tf32", 0) != 0 ? 1 : 3;
  const GemmTile tile = cuda::fitted(GemmTile::from(tactic, element), shape, problem);

  SourceText text(problem);
  text.include("mma.cuh");
  const auto n = [&](const Expr& e) { return text.number(e); };
  text.add(fmt::format(R"(struct Rows {{
  struct Row {{ const {0}* p; int y, x; }};
  struct Tap {{ int y, x, offset, count; }};
  static __device__ __forceinline__ Row row(const Args& a, int m, bool valid) {{
    const int image = m / ({1} * {2}), pixel = m % ({1} * {2});
    return {{a.in0 + image * (long long){3}, valid ? pixel / {2} * {4} - {5} : -(1 << 28), pixel % {2} * {6} - {7}}};
  }}
)",
                       cuda::c_type(x.dtype), n(out.dims[1]), n(out.dims[2]), n(x.strides[0]),
                       ints.stride_h, ints.pad_top, ints.stride_w, ints.pad_left));
  text.add(fmt::format(R"(  static __device__ __forceinline__ Tap tap(const Args& a, int k) {{
    const int t = k / {0}, c = k % {0}, y = t / {1} * {2}, x = t % {1} * {3};
    const int rest = {4} - c;
    return {{y, x, y * {5} + x * {6} + c * {7}, k >= {8} || rest < 0 ? 0 : rest < {9} ? rest : {9}}};
  }}
)",
                       wide, extent(w, 3), ints.dilation_h, ints.dilation_w, c, n(x.strides[1]),
                       n(x.strides[2]), n(x.strides[3]), shape.k, shape.va));
  text.add(fmt::format(
      R"(  static __device__ __forceinline__ const {0}* at(const Args& a, const Row& row, const Tap& tap, int& count) {{
    const int y = row.y + tap.y, x = row.x + tap.x;
    count = (unsigned)y < (unsigned){1} && (unsigned)x < (unsigned){2} ? tap.count : 0;
    return row.p + (count ? row.y * {3} + row.x * {4} + tap.offset : 0);
  }}
}};
)",
      cuda::c_type(x.dtype), n(x.dims[1]), n(x.dims[2]), n(x.strides[1]), n(x.strides[2])));
  text.add(
      fmt::format("struct Cols {{\n  static __device__ __forceinline__ const {}* row(const Args& "
                  "a, int, int k) {{ return a.in1 + k * {}; }}\n}};\n",
                  cuda::c_type(w.dtype), shape.nb));
  const Expr rows = cuda::rows_of(out);
  cuda::add_gemm(text, problem, tile, shape, n(rows));
  return text.finish({cuda::gemm_launch(tile, shape, rows, 1)});
}

}  // namespace

Tensor conv_cuda_mma_pack(const Problem&, size_t index, const Tensor& dense) {
  if (index != 1) return dense;
  const Dims& d = dense.dims();
  const int64_t wide = padded_channels(d[1]), taps = d[2] * d[3];
  Tensor rows(DType::f32, {taps * wide, d[0]});
  float* to = rows.mutable_data<float>();
  for (int64_t t = 0; t < taps; ++t)
    for (int64_t c = 0; c < wide; ++c)
      for (int64_t o = 0; o < d[0]; ++o)
        *to++ = c < d[1] ? dense.data<float>()[(o * d[1] + c) * taps + t] : 0.0f;
  return cuda::pack_rows(rows.data<float>(), taps * wide, d[0], d[0], 1);
}

extern const GpuKernel conv_cuda_mma;
const GpuKernel conv_cuda_mma{
    .name = "conv_cuda_mma",
    .family = "conv",
    .accepts = [](const Problem& p, const GpuMachine&) { return conv_cuda_mma_accepts(p); },
    .tactics = tactics,
    .generate = generate,
    .pack = conv_cuda_mma_pack};

}  // namespace vitrail
