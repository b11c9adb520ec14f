// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/text.h"
#include "kernels/pointwise/family.h"

namespace vitrail {
namespace {
using cuda::SourceText;

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.epilogue_inputs != 1) return "epilogue_inputs is not 1";
  if (problem.outputs.empty() || problem.outputs[0].dims.empty()) return "a scalar";
  return cuda::check_float_operands(problem);
}

// threads: of a block.
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) {
  return {{{"threads", 256}}, {{"threads", 128}}};
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine&) {
  SourceText text(problem);
  const int threads = static_cast<int>(tactic.count("threads") ? tactic.at("threads") : 256);
  int width = cuda::tail_width(problem);
  const Operand& x = problem.inputs[0];
  const Operand& out = problem.outputs[0];
  const bool row = x.strides.back().is(1);
  if (row) width = std::min(width, cuda::vector_width(problem, false, 0));
  text.tail(width);
  const std::string cols = text.number(out.dims.back());
  const Expr chunks = ceildiv(out.dims.back(), width), items = cuda::rows_of(out) * chunks;
  const std::string base = fmt::format("a.in0 + {}", text.row_offset(x, "row"));
  const std::string stride = text.number(x.strides.back());
  std::string body = fmt::format(
      "  vt_trigger();\n  const int item = vt_block(a) * {} + threadIdx.x;\n  if (item >= {}) "
      "return;\n"
      "  const int row = item / {}, col = item % {} * {};\n  vt_wait();\n  float x[{}];\n",
      threads, text.number(items), text.number(chunks), text.number(chunks), width, width);
  body += row ? fmt::format("  if (col + {0} <= {1}) vt_load<{0}>({2} + col, x);\n  else\n", width,
                            cols, base)
              : std::string();
  body += fmt::format(
      "  for (int i = 0; i < {}; ++i) x[i] = col + i < {} ? vt_float(({})[(col + i) * {}]) : "
      "0.0f;\n"
      "  vt_finish<Tail>(a, row, col, {}, x);\n",
      width, cols, base, stride, cols);
  text.entry("pointwise", threads, body);
  return text.finish(
      {{.entry = "pointwise", .grid = {ceildiv(items, threads), 1, 1}, .threads = threads}});
}

}  // namespace

extern const GpuKernel pointwise_cuda;
const GpuKernel pointwise_cuda{.name = "pointwise_cuda",
                               .family = "pointwise",
                               .accepts = accepts,
                               .tactics = tactics,
                               .generate = generate};

}  // namespace vitrail
