// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/text.h"
#include "kernels/reduce/family.h"

namespace vitrail {
namespace {
using namespace cuda;

Refusal accepts(const Problem& p, const GpuMachine&) {
  if (p.epilogue_inputs != 1 || p.inputs.at(0).dims.empty())
    return "a scalar, or epilogue_inputs is not 1";
  return check_float_operands(p);
}
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) { return {{}}; }

// A warp makes one output; lanes take every 32nd term, in float64, which costs nothing beside the
// reads.
GpuCode generate(const Problem& p, const Tactic&, const GpuMachine&) {
  const Operand &x = p.inputs[0], &out = p.outputs[0];
  const int64_t axes = p.integer("axes", 0);
  const auto op = static_cast<ReduceOp>(p.integer("op", 0));
  Operand kept = x, terms = x;  // the same strides over the axes that stay, and over those that go
  for (size_t i = 0; i < x.dims.size(); ++i) ((axes >> i & 1) ? kept : terms).dims[i] = 1;
  SourceText text(p);
  text.tail(1);
  const Expr count = element_count(terms.dims), results = element_count(out.dims);
  const std::string n = text.number(count), cols = text.number(out.dims.back());
  const char *start = "0.0", *step = "acc + v", *merge = "acc + other", *end = "acc";
  std::string mean;
  switch (op) {
    case ReduceOp::mean:
      mean = fmt::format("acc / {}", n), end = mean.c_str();
      break;
    case ReduceOp::max:
      start = "__longlong_as_double(0xfff0000000000000ll)", step = "v != v || v > acc ? v : acc",
      merge = "acc != acc || acc > other ? acc : other";
      break;
    case ReduceOp::min:
      start = "__longlong_as_double(0x7ff0000000000000ll)", step = "v != v || v < acc ? v : acc",
      merge = "acc != acc || acc < other ? acc : other";
      break;
    case ReduceOp::l2:
      step = "acc + v * v", end = "sqrt(acc)";
      break;
    case ReduceOp::sumsq:
      step = "acc + v * v";
      break;
    case ReduceOp::prod:
      start = "1.0", step = "acc * v", merge = "acc * other";
      break;
    default:
      break;
  }
  // Once NaN, a maximum stays NaN: comparisons with it are false.
  const bool extreme = op == ReduceOp::max || op == ReduceOp::min;
  constexpr int kWarps = 4;
  text.entry("reduce", 32 * kWarps,
             fmt::format(
                 "  vt_trigger();\n  const int item = vt_block(a) * {0} + threadIdx.x / 32, "
                 "lane = threadIdx.x % 32;\n  if (item >= {1}) return;\n"
                 "  const {2}* from = a.in0 + {3};\n  vt_wait();\n  double acc = {4};\n"
                 "  for (int i = lane; i < {5}; i += 32) {{\n    const double v = "
                 "vt_float(from[{6}]);\n    acc = {7};\n  }}\n"
                 "  for (int i = 16; i > 0; i /= 2) {{\n    const double other = "
                 "__shfl_xor_sync(0xffffffffu, acc, i);\n    acc = {8};\n  }}\n"
                 "  float y[1] = {{(float)({9})}};\n  if (lane == 0) vt_finish<Tail>(a, "
                 "item / {10}, item % {10}, {10}, y);\n",
                 kWarps, text.number(results), c_type(x.dtype),
                 text.offset(kept, 0, x.dims.size(), "item"), start, n,
                 text.offset(terms, 0, x.dims.size(), "i"),
                 extreme ? fmt::format("acc != acc ? acc : ({})", step) : step,
                 extreme ? fmt::format("other != other ? other : ({})", merge) : merge, end, cols));
  return text.finish(
      {{.entry = "reduce", .grid = {ceildiv(results, kWarps), 1, 1}, .threads = 32 * kWarps}});
}

}  // namespace

extern const GpuKernel reduce_cuda;
const GpuKernel reduce_cuda{.name = "reduce_cuda",
                            .family = "reduce",
                            .accepts = accepts,
                            .tactics = tactics,
                            .generate = generate};

}  // namespace vitrail
