// SPDX-License-Identifier: Apache-2.0
#include "kernels/copy/family.h"
#include "kernels/cuda/text.h"

namespace vitrail {
namespace {
using namespace cuda;

Refusal accepts(const Problem& p, const GpuMachine&) {
  const Operand &x = p.inputs.at(0), &out = p.outputs.at(0);
  if (x.dtype != out.dtype && !(is_float(x.dtype) && is_float(out.dtype) && x.dtype != DType::f64 &&
                                out.dtype != DType::f64))
    return "the types differ";
  if (x.dtype == DType::string) return "strings";
  return {};
}
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) { return {{}}; }

GpuCode generate(const Problem& p, const Tactic&, const GpuMachine&) {
  const Operand &x = p.inputs[0], &out = p.outputs[0];
  SourceText text(p);
  constexpr int kThreads = 256;
  const Expr count = element_count(out.dims);
  const std::string value =
      x.dtype == out.dtype ? "a.in0[from]"
                           : fmt::format("vt_to<{}>(vt_float(a.in0[from]))", c_type(out.dtype));
  text.entry(
      "copy", kThreads,
      fmt::format("  vt_trigger();\n  const int item = vt_block(a) * {} + threadIdx.x;\n  if "
                  "(item >= {}) return;\n"
                  "  const int from = {}, to = {};\n  vt_wait();\n  a.out0[to] = {};\n",
                  kThreads, text.number(count), text.offset(x, 0, x.dims.size(), "item"),
                  text.offset(out, 0, out.dims.size(), "item"), value));
  return text.finish(
      {{.entry = "copy", .grid = {ceildiv(count, kThreads), 1, 1}, .threads = kThreads}});
}

}  // namespace

extern const GpuKernel copy_cuda;
const GpuKernel copy_cuda{.name = "copy_cuda",
                          .family = "copy",
                          .accepts = accepts,
                          .tactics = tactics,
                          .generate = generate};

}  // namespace vitrail
