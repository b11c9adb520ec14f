// SPDX-License-Identifier: Apache-2.0
// What the Gram kernels have in common.
#include "kernels/gram/cuda.h"

namespace vitrail::cuda {

GramParts::GramParts(const Operand& x, int64_t most, int64_t grain, int64_t longest) {
  for (size_t i = 1; i + 1 < x.dims.size(); ++i) tokens *= x.dims[i];
  size = min(ceildiv(tokens, most * grain) * grain, longest);
  count = ceildiv(tokens, max(size, 1));
}

void add_gram_config(SourceText& text, const Problem& problem, const std::string& constants) {
  const Operand &x = problem.inputs[0], &out = problem.outputs[0];
  text.add(fmt::format(
      "struct Cfg {{\n  typedef {} T;\n  static constexpr int C = {}, VX = {}, {};\n"
      "  static __device__ __forceinline__ const T* at(const Args& a, int batch, int token) {{ "
      "return a.in0 + batch * (long long){} + {}; }}\n"
      "  static __device__ __forceinline__ void store(const Args& a, int element, float x) {{ "
      "a.out0[{}] = vt_to<{}>(x); }}\n}};\n",
      c_type(x.dtype), x.dims.back().constant(), vector_width(problem, false, 0), constants,
      text.number(x.strides[0]), text.offset(x, 1, x.dims.size() - 1, "token"),
      text.offset(out, 0, 3, "element"), c_type(out.dtype)));
}

GpuCode finish_gram(SourceText& text, const Problem& problem, const GramParts& parts,
                    const std::string& form, int64_t elements, int64_t threads,
                    int64_t shared_bytes) {
  constexpr int kAddThreads = 512, kAddElements = 32;  // of a block, gram_add.cuh
  text.add(std::string(device_header("gram_add.cuh")));
  text.entry("gram_parts", static_cast<int>(threads),
             fmt::format("  {}::run(a, {}, {}, {});\n", form, text.number(parts.tokens),
                         text.number(parts.size), text.number(parts.count)),
             1);
  text.entry("gram_add", kAddThreads,
             fmt::format("  GramAdd<{}, Cfg>::run(a, {});\n", form, text.number(parts.count)));
  const Expr images = problem.inputs[0].dims[0];
  return text.finish({{.entry = "gram_parts",
                       .grid = {parts.count * images, 1, 1},
                       .threads = static_cast<int>(threads),
                       .shared_bytes = shared_bytes},
                      {.entry = "gram_add",
                       .grid = {images * Expr(elements / kAddElements), 1, 1},
                       .threads = kAddThreads}},
                     parts.count * images * Expr(4 * elements));
}

}  // namespace vitrail::cuda
