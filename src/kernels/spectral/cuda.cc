// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/text.h"
#include "kernels/spectral/family.h"

namespace vitrail {
namespace {
using namespace cuda;

// Shared memory of a head: G Wq and G Wk, the scores, the norms; float64.
int64_t shared_bytes(const Problem& p) {
  const int64_t c = p.inputs[1].dims[0].constant(),
                d = p.inputs[1].dims[1].constant() / p.integer("heads", 1);
  return 8 * (2 * c * d + d * d + 2 * d);
}
// The head's columns of Wq and Wk, kept beside them as float64 where they fit: a multiprocessor
// converts sixteen numbers a cycle.
int64_t weight_bytes(const Problem& p, const GpuMachine& machine) {
  const int64_t bytes = 16 * p.inputs[1].dims[0].constant() *
                        (p.inputs[1].dims[1].constant() / p.integer("heads", 1));
  return shared_bytes(p) + bytes <= machine.shared_bytes ? bytes : 0;
}

Refusal accepts(const Problem& p, const GpuMachine& machine) {
  if (p.inputs.size() != 6) return "six inputs are expected";
  for (size_t i = 1; i < 6; ++i)
    if (!is_static(p.inputs[i].dims)) return "extents of the weights are unknown";
  for (const auto* list : {&p.inputs, &p.outputs})
    for (const Operand& o : *list)
      if (o.dtype != DType::f32 && o.dtype != DType::f16 && o.dtype != DType::bf16)
        return "an operand that is no float";
  if (shared_bytes(p) > machine.shared_bytes)
    return fmt::format("a head needs {} bytes of shared memory", shared_bytes(p));
  return {};
}
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) { return {{}}; }

// First launch: a block a head and image makes R = Wv A^T of its columns, in float64 inside.
// Second: M = R Wproj.
GpuCode generate(const Problem& p, const Tactic&, const GpuMachine& machine) {
  const int64_t c = p.inputs[1].dims[0].constant(), all = p.inputs[1].dims[1].constant(),
                heads = p.integer("heads", 1), d = all / heads;
  const int64_t o = p.inputs[5].dims[1].constant();
  SourceText text(p);
  const auto n = [&](const Expr& e) { return text.number(e); };
  const auto at = [&](size_t i, const std::string& row, const std::string& col) {
    return fmt::format("vt_float(a.in{}[({}) * {} + ({}) * {}])", i, row, n(p.inputs[i].strides[0]),
                       col, n(p.inputs[i].strides[1]));
  };
  const Operand& g = p.inputs[0];
  constexpr int kThreads = 512;
  const std::string gram = fmt::format("vt_float(a.in0[batch * {} + i * {} + l * {}])",
                                       n(g.strides[0]), n(g.strides[1]), n(g.strides[2]));
  const int64_t staged = weight_bytes(p, machine);
  const auto weight = [&](size_t i, const std::string& row, const std::string& col) {
    return staged ? fmt::format("{}[({}) * {} + {}]", i == 1 ? "wq" : "wk", row, d, col)
                  : fmt::format("(double){}", at(i, row, "h0 + " + col));
  };
  std::string body = fmt::format(
      "  extern __shared__ double shared[];\n  double *tq = shared, *tk = tq + {0} * {1}, *scores "
      "= tk + {0} * {1}, *nq = scores + {1} * {1}, *nk = nq + {1};\n"
      "  vt_trigger();\n  const int head = blockIdx.x, batch = blockIdx.y, h0 = head * {1};\n  "
      "vt_wait();\n",
      c, d);
  if (staged)
    body += fmt::format(
        "  double *wq = nk + {1}, *wk = wq + {0} * {1};\n"
        "  for (int e = threadIdx.x; e < {0} * {1}; e += {2}) {{\n    const int l = e / {1}, j = e "
        "% {1};\n    wq[e] = {3}, wk[e] = {4};\n  }}\n  __syncthreads();\n",
        c, d, kThreads, at(1, "l", "h0 + j"), at(2, "l", "h0 + j"));
  // Four columns a thread share a conversion of the Gram matrix.
  body += fmt::format(
      "  for (int e = threadIdx.x; e < {0} * {2}; e += {3}) {{\n    const int i = e / {2}, j0 = e "
      "% {2} * 4;\n    double q[4] = {{0, 0, 0, 0}}, k[4] = {{0, 0, 0, 0}};\n"
      "#pragma unroll 4\n    for (int l = 0; l < {0}; ++l) {{\n      const double v = "
      "{4};\n#pragma unroll\n      for (int t = 0; t < 4; ++t) {{\n"
      "        const int j = j0 + t < {1} ? j0 + t : {1} - 1;\n        q[t] = fma(v, {5}, q[t]), "
      "k[t] = fma(v, {6}, k[t]);\n      }}\n    }}\n"
      "#pragma unroll\n    for (int t = 0; t < 4; ++t)\n      if (j0 + t < {1}) tq[i * {1} + j0 + "
      "t] = q[t], tk[i * {1} + j0 + t] = k[t];\n  }}\n  __syncthreads();\n",
      c, d, (d + 3) / 4, kThreads, gram, weight(1, "l", "j"), weight(2, "l", "j"));
  body += fmt::format(
      "  for (int e = threadIdx.x; e < {1} * {1} + 2 * {1}; e += {2}) {{\n    double sum = 0;\n"
      "    if (e < {1} * {1}) {{\n      const int i = e / {1}, j = e % {1};\n#pragma unroll 4\n    "
      "  for (int l = 0; l < {0}; ++l) sum = fma({3}, tq[l * {1} + j], sum);\n      scores[e] = "
      "sum;\n"
      "    }} else if (e < {1} * {1} + {1}) {{\n      const int j = e - {1} * {1};\n      for (int "
      "l = 0; l < {0}; ++l) sum = fma({4}, tq[l * {1} + j], sum);\n      nq[j] = sum;\n"
      "    }} else {{\n      const int i = e - {1} * {1} - {1};\n      for (int l = 0; l < {0}; "
      "++l) sum = fma({3}, tk[l * {1} + i], sum);\n      nk[i] = sum;\n    }}\n  }}\n  "
      "__syncthreads();\n",
      c, d, kThreads, weight(2, "l", "i"), weight(1, "l", "j"));
  body += fmt::format(
      "  const double eps = {3}, rescale = vt_float(a.in4[head * {4}]);\n"
      "  if (threadIdx.x < {1}) {{\n    const int i = threadIdx.x;\n    const double k = "
      "fmax(sqrt(fmax(nk[i], 0.0)), eps);\n    double most = "
      "__longlong_as_double(0xfff0000000000000ll), sum = 0;\n"
      "    for (int j = 0; j < {1}; ++j) {{\n      const double s = rescale * scores[i * {1} + j] "
      "/ (k * fmax(sqrt(fmax(nq[j], 0.0)), eps));\n      scores[i * {1} + j] = s;\n      most = "
      "fmax(most, s);\n    }}\n"
      "    for (int j = 0; j < {1}; ++j) sum += scores[i * {1} + j] = exp(scores[i * {1} + j] - "
      "most);\n"
      "    for (int j = 0; j < {1}; ++j) scores[i * {1} + j] /= sum;\n  }}\n  __syncthreads();\n"
      "  float* to = (float*)a.workspace + batch * {0} * {5};\n"
      "  for (int e = threadIdx.x; e < {0} * {1}; e += {2}) {{\n    const int i = e / {1}, j = e % "
      "{1};\n    double sum = 0;\n"
      "    for (int l = 0; l < {1}; ++l) sum = fma((double){6}, scores[j * {1} + l], sum);\n    "
      "to[i * {5} + h0 + j] = (float)sum;\n  }}\n",
      c, d, kThreads, literal(p.number("eps", 1e-12)), n(p.inputs[4].strides[0]), all,
      at(3, "i", "h0 + l"));
  text.entry("heads", kThreads, body);
  const Operand& out = p.outputs[0];
  constexpr int kSecond = 128;
  text.entry(
      "project", kSecond,
      fmt::format("  vt_trigger();\n  const int e = blockIdx.x * {0} + threadIdx.x, batch = "
                  "blockIdx.y;\n  if (e >= {1}) return;\n  const int i = e / {2}, j = e % {2};\n"
                  "  const float* from = (const float*)a.workspace + (batch * {3} + i) * {4};\n  "
                  "vt_wait();\n  double sum = 0;\n"
                  "#pragma unroll 4\n  for (int l = 0; l < {4}; ++l) sum = fma((double)from[l], "
                  "(double){5}, sum);\n  a.out0[batch * {6} + i * {7} + j * {8}] = "
                  "vt_to<{9}>((float)sum);\n",
                  kSecond, c * o, o, c, all, at(5, "l", "j"), n(out.strides[0]), n(out.strides[1]),
                  n(out.strides[2]), c_type(out.dtype)));
  const Expr batch = g.dims[0];
  return text.finish({{.entry = "heads",
                       .grid = {heads, batch, 1},
                       .threads = kThreads,
                       .shared_bytes = shared_bytes(p) + staged},
                      {.entry = "project",
                       .grid = {(c * o + kSecond - 1) / kSecond, batch, 1},
                       .threads = kSecond}},
                     batch * Expr(4 * c * all));
}

}  // namespace

extern const GpuKernel spectral_cuda;
const GpuKernel spectral_cuda{.name = "spectral_cuda",
                              .family = "spectral",
                              .accepts = accepts,
                              .tactics = tactics,
                              .generate = generate};

}  // namespace vitrail
