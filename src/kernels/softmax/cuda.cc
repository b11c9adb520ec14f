// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/text.h"
#include "kernels/softmax/family.h"

namespace vitrail {
namespace {
using namespace cuda;

Refusal accepts(const Problem& p, const GpuMachine&) {
  if (p.epilogue_inputs != 1 || p.inputs.at(0).dims.empty())
    return "a scalar, or epilogue_inputs is not 1";
  return check_float_operands(p);
}
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) { return {{}}; }

// A warp takes a row. The row may be longer than its registers, and the result may lie where x
// lies: it is read three times before the first element of it is written.
GpuCode generate(const Problem& p, const Tactic&, const GpuMachine&) {
  const Operand& x = p.inputs[0];
  SourceText text(p);
  text.tail(1);
  constexpr int kWarps = 4;
  const std::string c = text.number(x.dims.back()), stride = text.number(x.strides.back());
  const Expr rows = rows_of(x);
  text.entry(
      "softmax", 32 * kWarps,
      fmt::format(
          "  vt_trigger();\n  const int row = vt_block(a) * {0} + threadIdx.x / 32, lane = "
          "threadIdx.x % 32;\n  if (row >= {1}) return;\n"
          "  const {2}* from = a.in0 + {3};\n  vt_wait();\n"
          "  float most = __uint_as_float(0xff800000u), sum = 0;\n"
          "  for (int i = lane; i < {4}; i += 32) most = vt_max_nan(most, vt_float(from[i * "
          "{5}]));\n  most = vt_warp_max(most);\n"
          "  for (int i = lane; i < {4}; i += 32) sum += expf(vt_float(from[i * {5}]) - most);\n  "
          "const float inverse = 1.0f / vt_warp_sum(sum);\n"
          "  for (int i = lane; i < {4}; i += 32) {{\n    float y[1] = {{expf(vt_float(from[i * "
          "{5}]) - most) * inverse}};\n    vt_finish<Tail>(a, row, i, {4}, y);\n  }}\n",
          kWarps, text.number(rows), c_type(x.dtype), text.row_offset(x, "row"), c, stride));
  return text.finish(
      {{.entry = "softmax", .grid = {ceildiv(rows, kWarps), 1, 1}, .threads = 32 * kWarps}});
}

}  // namespace

extern const GpuKernel softmax_cuda;
const GpuKernel softmax_cuda{.name = "softmax_cuda",
                             .family = "softmax",
                             .accepts = accepts,
                             .tactics = tactics,
                             .generate = generate};

}  // namespace vitrail
