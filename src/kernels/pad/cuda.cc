// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/text.h"
#include "kernels/pad/family.h"

namespace vitrail {
namespace {
using namespace cuda;
enum Mode : int64_t { constant, reflect, edge, wrap };

Refusal accepts(const Problem& p, const GpuMachine&) {
  const Operand &x = p.inputs.at(0), &out = p.outputs.at(0);
  const bool floats = x.dtype == DType::f32 || x.dtype == DType::f16 || x.dtype == DType::bf16;
  if (x.dtype != out.dtype &&
      !(floats && (out.dtype == DType::f32 || out.dtype == DType::f16 || out.dtype == DType::bf16)))
    return "the types differ";
  if (!floats && p.integer("mode", 0) == constant && p.number("value", 0) != 0)
    return "a constant other than 0 in integers";
  if (x.dtype == DType::string || out.dims.empty()) return "strings, or a scalar";
  return {};
}
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) { return {{}}; }

GpuCode generate(const Problem& p, const Tactic&, const GpuMachine&) {
  const Operand &x = p.inputs[0], &out = p.outputs[0];
  const int64_t mode = p.integer("mode", 0);
  const bool floats = x.dtype == DType::f32 || x.dtype == DType::f16 || x.dtype == DType::bf16;
  SourceText text(p);
  constexpr int kThreads = 256;
  const Expr count = element_count(out.dims);
  std::string body = fmt::format(
      "  vt_trigger();\n  const int item = vt_block(a) * {} + threadIdx.x;\n  if (item >= {}) "
      "return;\n"
      "  const int to = {};\n  int rest = item, from = 0;\n  bool inside = true;\n",
      kThreads, text.number(count), text.offset(out, 0, out.dims.size(), "item"));
  for (size_t axis = out.dims.size(); axis-- > 0;) {
    const std::string in = text.number(x.dims[axis]), n = text.number(out.dims[axis]);
    body += fmt::format("  {{\n    int i = rest % {} - {};\n    rest /= {};\n", n,
                        p.integer("before" + std::to_string(axis), 0), n);
    switch (mode) {
      case constant:
        body += fmt::format("    inside = inside && i >= 0 && i < {};\n", in);
        break;
      case reflect:
        body += fmt::format(
            "    const int period = 2 * ({0} - 1);\n    i = {0} == 1 ? 0 : (i % period + period) % "
            "period;\n    i = i < {0} ? i : period - i;\n",
            in);
        break;
      case edge:
        body += fmt::format("    i = min(max(i, 0), {} - 1);\n", in);
        break;
      default:
        body += fmt::format("    i = (i % {0} + {0}) % {0};\n", in);
    }
    body += fmt::format("    from += i * {};\n  }}\n", text.number(x.strides[axis]));
  }
  const std::string fallback =
      floats ? fmt::format("vt_to<{}>({})", c_type(out.dtype), literal(p.number("value", 0)))
             : fmt::format("({})0", c_type(out.dtype));
  const std::string value =
      x.dtype == out.dtype ? "a.in0[from]"
                           : fmt::format("vt_to<{}>(vt_float(a.in0[from]))", c_type(out.dtype));
  body += fmt::format(
      "  vt_wait();\n  {} value = {};\n  if (inside) value = {};\n  a.out0[to] = value;\n",
      c_type(out.dtype), fallback, value);
  text.entry("pad", kThreads, body);
  return text.finish(
      {{.entry = "pad", .grid = {ceildiv(count, kThreads), 1, 1}, .threads = kThreads}});
}

}  // namespace

extern const GpuKernel pad_cuda;
const GpuKernel pad_cuda{.name = "pad_cuda",
                         .family = "pad",
                         .accepts = accepts,
                         .tactics = tactics,
                         .generate = generate};

}  // namespace vitrail
