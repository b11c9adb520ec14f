// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/text.h"
#include "kernels/depthwise/family.h"

namespace vitrail {
namespace {
using namespace cuda;

constexpr int64_t kPad = 16;  // channels of the packed weight [tap][channel]
int64_t padded(const Problem& p) {
  return (p.inputs[1].dims[0].constant() + kPad - 1) / kPad * kPad;
}

Refusal accepts(const Problem& p, const GpuMachine&) {
  if (p.epilogue_inputs != 2 || p.inputs.size() < 2 || p.inputs[0].dims.size() != 4)
    return "not x, weight and an epilogue";
  if (!p.inputs[1].constant || !is_static(p.inputs[1].dims)) return "the weight is not constant";
  return check_float_operands(p);
}

Tensor pack(const Problem& p, size_t index, const Tensor& dense) {
  if (index != 1) return dense;
  const int64_t c = dense.dims()[0], taps = dense.dims()[2] * dense.dims()[3];
  Tensor out(DType::f32, {taps, padded(p)});
  for (int64_t t = 0; t < taps; ++t)
    for (int64_t i = 0; i < padded(p); ++i)
      out.mutable_data<float>()[t * padded(p) + i] =
          i < c ? dense.data<float>()[i * taps + t] : 0.0f;
  return out;
}

// strip: outputs along the width that one thread makes, which share columns of the window.
std::vector<Tactic> tactics(const BoundProblem& p, const GpuMachine& machine) {
  const Dims& out = p.outputs[0].dims;
  const int64_t threads = out[0] * out[1] * out[2] * ((out[3] + 7) / 8);
  constexpr int64_t kOccupancy = 1024;
  const int64_t best = threads / 4 >= machine.multiprocessors * kOccupancy   ? 4
                       : threads / 2 >= machine.multiprocessors * kOccupancy ? 2
                                                                             : 1;
  std::vector<Tactic> list = {{{"strip", best}}};
  for (int64_t strip : {1, 2, 4})
    if (strip != best) list.push_back({{"strip", strip}});
  return list;
}

GpuCode generate(const Problem& p, const Tactic& tactic, const GpuMachine&) {
  const Operand &x = p.inputs[0], &out = p.outputs[0];
  const int64_t kh = p.inputs[1].dims[2].constant(), kw = p.inputs[1].dims[3].constant();
  const int64_t strip = tactic.contains("strip") ? tactic.at("strip") : 1,
                sw = p.integer("stride_w", 1), dw = p.integer("dilation_w", 1);
  SourceText text(p);
  const int width = std::min({8, vector_width(p, false, 0), tail_width(p)});
  text.tail(width);
  const auto n = [&](const Expr& e) { return text.number(e); };
  const Expr chunks = ceildiv(out.dims[3], width), strips = ceildiv(out.dims[2], strip),
             items = out.dims[0] * out.dims[1] * strips * chunks;
  constexpr int kThreads = 128;
  const int64_t span = (strip - 1) * sw + (kw - 1) * dw + 1;  // columns of x under a strip
  std::string body = fmt::format(
      "  vt_trigger();\n  const int item = vt_block(a) * {0} + threadIdx.x;\n  if (item >= {1}) "
      "return;\n"
      "  const int c = item % {2} * {3}, place = item / {2}, px = place % {4} * {5}, rest = place "
      "/ {4}, py = rest % {6}, image = rest / {6};\n"
      "  float sum[{5}][{3}] = {{}};\n"
      "  const int x0 = px * {7} - {8}, y0 = py * {9} - {10};\n"
      "  const {11}* from = a.in0 + image * {12} + c * {13};\n  vt_wait();\n",
      kThreads, n(items), n(chunks), width, n(strips), strip, n(out.dims[1]), sw,
      p.integer("pad_left", 0), p.integer("stride_h", 1), p.integer("pad_top", 0), c_type(x.dtype),
      n(x.strides[0]), n(x.strides[3]));
  const std::string load =
      x.strides[3].is(1)
          ? fmt::format("if (c + {0} <= {1}) vt_load<{0}>(at, v); else ", width, n(out.dims[3]))
          : std::string();
  body += fmt::format(
      "#pragma unroll\n  for (int r = 0; r < {0}; ++r) {{\n    const int y = y0 + r * {1};\n    if "
      "(y < 0 || y >= {2}) continue;\n"
      "    float w[{3}][{4}];\n#pragma unroll\n    for (int q = 0; q < {3}; ++q) "
      "vt_load<{4}>(a.in1 + (r * {3} + q) * {5} + c, w[q]);\n"
      "#pragma unroll\n    for (int i = 0; i < {6}; ++i) {{\n"
      "      const int xx = x0 + i;\n      if (xx < 0 || xx >= {7}) continue;\n"
      "      float v[{4}];\n      const {8}* at = from + y * {9} + xx * {10};\n"
      "      {11}for (int j = 0; j < {4}; ++j) v[j] = c + j < {12} ? vt_float(at[j * {13}]) : "
      "0.0f;\n"
      "#pragma unroll\n      for (int s = 0; s < {14}; ++s) {{\n        const int tap = i - s * "
      "{15};\n"
      "        if (tap >= 0 && tap % {16} == 0 && tap / {16} < {3})\n#pragma unroll\n"
      "          for (int j = 0; j < {4}; ++j) sum[s][j] = fmaf(v[j], w[tap / {16}][j], "
      "sum[s][j]);\n      }}\n    }}\n  }}\n",
      kh, p.integer("dilation_h", 1), n(x.dims[1]), kw, width, padded(p), span, n(x.dims[2]),
      c_type(x.dtype), n(x.strides[1]), n(x.strides[2]), load, n(out.dims[3]), n(x.strides[3]),
      strip, sw, dw);
  body += fmt::format(
      "#pragma unroll\n  for (int s = 0; s < {0}; ++s)\n    if (px + s < {1}) vt_finish<Tail>(a, "
      "(image * {2} + py) * {1} + px + s, c, {3}, sum[s]);\n",
      strip, n(out.dims[2]), n(out.dims[1]), n(out.dims[3]));
  text.entry("depthwise", kThreads, body);
  return text.finish(
      {{.entry = "depthwise", .grid = {ceildiv(items, kThreads), 1, 1}, .threads = kThreads}});
}

}  // namespace

extern const GpuKernel depthwise_cuda;
const GpuKernel depthwise_cuda{.name = "depthwise_cuda",
                               .family = "depthwise",
                               .accepts = accepts,
                               .tactics = tactics,
                               .generate = generate,
                               .pack = pack};

}  // namespace vitrail
