// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/family.h"
#include "kernels/cuda/text.h"

namespace vitrail {
namespace {
using namespace cuda;

constexpr int64_t kMostWidth = 128;  // of a head

Refusal accepts(const Problem& p, const GpuMachine&) {
  if (p.inputs.size() < 3 || p.epilogue_inputs != 3 + p.integer("has_mask", 0))
    return "epilogue_inputs do not follow q, k, v and the mask";
  const size_t rank = p.outputs.at(0).dims.size();
  for (int i = 0; i < p.epilogue_inputs; ++i)
    if (p.inputs[static_cast<size_t>(i)].dims.size() != rank || rank < 2) return "ranks do not fit";
  for (size_t i : {size_t{0}, size_t{2}})
    if (!p.inputs[i].dims.back().is_constant() || p.inputs[i].dims.back().constant() > kMostWidth)
      return "heads of unknown width, or wider than 128";
  const int64_t d = p.inputs[0].dims.back().constant(), dv = p.inputs[2].dims.back().constant();
  constexpr int64_t kShared = 48 << 10;
  if (4 * 32 * (2 * (d + 1) + dv + 1 + 33) > kShared)
    return "a tile of queries, keys and values does not fit into shared memory";
  return check_float_operands(p);
}
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) { return {{}}; }

// A block takes 32 queries of one batch index, 4 threads a query, and goes over the keys 32 at a
// time with a running maximum, all in float32.
GpuCode generate(const Problem& p, const Tactic&, const GpuMachine&) {
  const Operand &q = p.inputs[0], &k = p.inputs[1], &v = p.inputs[2], &out = p.outputs[0];
  const size_t rank = out.dims.size();
  const int64_t d = q.dims.back().constant(), dv = v.dims.back().constant(), own = (dv + 3) / 4;
  SourceText text(p);
  text.tail(1);
  const auto n = [&](const Expr& e) { return text.number(e); };
  const Expr &m = out.dims[rank - 2], &t = k.dims[rank - 2];
  Expr batch = 1;
  for (size_t i = 0; i + 2 < rank; ++i) batch *= out.dims[i];
  constexpr int kThreads = 128;
  const auto load = [&](const char* to, const Operand& o, const char* name, int64_t width,
                        const char* first, const Expr& limit) {
    return fmt::format(
        "    for (int i = threadIdx.x; i < 32 * {0}; i += {1}) {{\n      const int r = i / {0}, "
        "col = i % {0};\n"
        "      {2}[r][col] = {3} + r < {4} ? vt_float(a.{5}[{6}_at + ({3} + r) * {7} + col * {8}]) "
        ": 0.0f;\n    }}\n",
        width, kThreads, to, first, n(limit), name, to, n(o.strides[rank - 2]),
        n(o.strides[rank - 1]));
  };
  std::string body = fmt::format(
      "  __shared__ float qs[32][{0}], ks[32][{0}], vs[32][{1}], weights[32][33];\n  "
      "vt_trigger();\n"
      "  const int z = blockIdx.y, m0 = blockIdx.x * 32, row = threadIdx.x / 4, part = threadIdx.x "
      "% 4;\n"
      "  const int qs_at = {2}, ks_at = {3}, vs_at = {4};\n",
      d + 1, dv + 1, text.offset(q, 0, rank - 2, "z"), text.offset(k, 0, rank - 2, "z"),
      text.offset(v, 0, rank - 2, "z"));
  if (p.integer("has_mask", 0))
    body += fmt::format("  const int mask_at = {};\n", text.offset(p.inputs[3], 0, rank - 2, "z"));
  body += fmt::format(
      "  float acc[{}] = {{}}, most = __uint_as_float(0xff800000u), total = 0;\n  vt_wait();\n",
      own);
  body += load("qs", q, "in0", d, "m0", m);
  body += fmt::format("  for (int t0 = 0; t0 < {}; t0 += 32) {{\n    __syncthreads();\n", n(t));
  body += load("ks", k, "in1", d, "t0", t) + load("vs", v, "in2", dv, "t0", t);
  body += fmt::format(
      "    __syncthreads();\n    float s[8] = {{}};\n#pragma unroll 8\n    for (int l = 0; l < "
      "{0}; ++l) {{\n      const float x = qs[row][l];\n#pragma unroll\n"
      "      for (int j = 0; j < 8; ++j) s[j] = fmaf(x, ks[part + 4 * j][l], s[j]);\n    }}\n    "
      "float high = most;\n#pragma unroll\n    for (int j = 0; j < 8; ++j) {{\n"
      "      const int key = t0 + part + 4 * j;\n      s[j] = s[j] * {1};\n",
      d, literal(p.number("scale", 1)));
  if (p.integer("has_mask", 0)) {
    const Operand& mask = p.inputs[3];
    body += fmt::format(
        "      if (key < {} && m0 + row < {}) s[j] += vt_float(a.in3[mask_at + (m0 + row) * {} + "
        "key * {}]);\n",
        n(t), n(m), n(mask.strides[rank - 2]), n(mask.strides[rank - 1]));
  }
  // A row of -infinity only stays at 0 / 0, as the reference's.
  body += fmt::format(
      "      if (key >= {0}) s[j] = __uint_as_float(0xff800000u);\n      high = vt_max_nan(high, "
      "s[j]);\n    }}\n"
      "    high = vt_max_nan(high, __shfl_xor_sync(0xffffffffu, high, 1));\n    high = "
      "vt_max_nan(high, __shfl_xor_sync(0xffffffffu, high, 2));\n"
      "    const bool none = high == __uint_as_float(0xff800000u);\n    const float shrink = none "
      "? 1.0f : expf(most - high);\n    most = high;\n    float sum = 0;\n#pragma unroll\n"
      "    for (int j = 0; j < 8; ++j) {{\n      const float w = none ? 0.0f : expf(s[j] - "
      "high);\n      weights[row][part + 4 * j] = w;\n      sum += w;\n    }}\n"
      "    sum += __shfl_xor_sync(0xffffffffu, sum, 1);\n    sum += __shfl_xor_sync(0xffffffffu, "
      "sum, 2);\n    total = total * shrink + sum;\n    __syncwarp();\n#pragma unroll\n"
      "    for (int i = 0; i < {1}; ++i) acc[i] *= shrink;\n    for (int l = 0; l < 32; ++l) {{\n  "
      "    const float w = weights[row][l];\n#pragma unroll\n"
      "      for (int i = 0; i < {1}; ++i)\n        if (part + 4 * i < {2}) acc[i] = fmaf(w, "
      "vs[l][part + 4 * i], acc[i]);\n    }}\n  }}\n"
      "  if (m0 + row >= {3}) return;\n  const float inverse = 1.0f / total;\n#pragma unroll\n  "
      "for (int i = 0; i < {1}; ++i) {{\n"
      "    float y[1] = {{acc[i] * inverse}};\n    if (part + 4 * i < {2}) vt_finish<Tail>(a, z * "
      "{3} + m0 + row, part + 4 * i, {2}, y);\n  }}\n",
      n(t), own, dv, n(m));
  text.entry("attention", kThreads, body);
  return text.finish(
      {{.entry = "attention", .grid = {ceildiv(m, 32), batch, 1}, .threads = kThreads}});
}

}  // namespace

extern const GpuKernel attention_cuda;
const GpuKernel attention_cuda{.name = "attention_cuda",
                               .family = "attention",
                               .accepts = accepts,
                               .tactics = tactics,
                               .generate = generate};

}  // namespace vitrail
