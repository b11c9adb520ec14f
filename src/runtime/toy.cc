// SPDX-License-Identifier: Apache-2.0
#include "runtime/toy.h"

namespace vitrail::toy {
namespace {
Refusal accepts_scale(const Problem& p) {
  if (p.inputs.size() != 1 || p.outputs.size() != 1) return "one input and one output only";
  if (p.inputs[0].dtype != DType::f32 || p.outputs[0].dtype != DType::f32) return "f32 only";
  if (!(p.inputs[0].dims == p.outputs[0].dims)) return "equal extents only";
  return {};
}
std::vector<Tactic> no_tactics(const BoundProblem&, const Machine&, int) { return {Tactic{}}; }
Launch bind_rows(const BoundProblem& p, const Tactic&, const Machine&, int) {
  const Dims& dims = p.outputs[0].dims;
  return {.tasks = dims.empty() ? 1 : dims[0]};
}
void scale_axis(const float* x, const int64_t* xs, float* y, const int64_t* ys, const int64_t* dims,
                size_t rank, float a, float b) {
  if (rank == 0) {
    *y = a * *x + b;
    return;
  }
  for (int64_t i = 0; i < dims[0]; ++i)
    scale_axis(x + i * xs[0], xs + 1, y + i * ys[0], ys + 1, dims + 1, rank - 1, a, b);
}
template <int tell>
void run_scale(const BoundProblem& p, const Launch&, const KernelArgs& args, int64_t task, void*,
               void*) noexcept {
  const BoundOperand &in = p.inputs[0], &out = p.outputs[0];
  const auto a = static_cast<float>(p.problem->number("a", 1));
  const double told = p.problem->integer("tell", 0) ? 1 : 0;
  const auto b = static_cast<float>(p.problem->number("b", 0) + told * tell);
  const auto* x = static_cast<const float*>(args.inputs[0]);
  auto* y = static_cast<float*>(args.outputs[0]);
  if (out.dims.empty()) return scale_axis(x, nullptr, y, nullptr, nullptr, 0, a, b);
  scale_axis(x + task * in.strides[0], in.strides.data() + 1, y + task * out.strides[0],
             out.strides.data() + 1, out.dims.data() + 1, out.dims.size() - 1, a, b);
}

Refusal accepts_matmul(const Problem& p) {
  if (p.inputs.size() != 2 || p.outputs.size() != 1) return "two inputs and one output only";
  for (const Operand* o : {&p.inputs[0], &p.inputs[1], &p.outputs[0]})
    if (o->dtype != DType::f32 || o->dims.size() != 2) return "f32 matrices only";
  if (!p.inputs[1].constant || p.inputs[1].strides != row_major(p.inputs[1].dims))
    return "dense constant weights only";
  if (!(p.inputs[0].dims[1] == p.inputs[1].dims[0] && p.inputs[1].dims[1] == p.outputs[0].dims[1] &&
        p.inputs[0].dims[0] == p.outputs[0].dims[0]))
    return "extents do not fit";
  return {};
}
Launch bind_matmul(const BoundProblem& p, const Tactic&, const Machine&, int) {
  const int64_t m = p.outputs[0].dims[0], n = p.outputs[0].dims[1];
  return {.tasks = 2 * m,
          .scratch_bytes = static_cast<size_t>(n) * 4,
          .shared_bytes = static_cast<size_t>(m * n) * 4,
          .phase_ends = {m, 2 * m}};
}
// Phase 1 leaves the first half's sums in shared memory, phase 2 adds the second half.
void run_matmul(const BoundProblem& p, const Launch&, const KernelArgs& args, int64_t task,
                void* scratch, void* shared) noexcept {
  const int64_t m = p.outputs[0].dims[0], n = p.outputs[0].dims[1], k = p.inputs[0].dims[1];
  const bool second = task >= m;
  const int64_t row = task % m;
  const auto* x = static_cast<const float*>(args.inputs[0]) + row * p.inputs[0].strides[0];
  const auto* w = static_cast<const float*>(args.inputs[1]);
  auto* y = static_cast<float*>(args.outputs[0]) + row * p.outputs[0].strides[0];
  auto *sum = static_cast<float*>(scratch), *kept = static_cast<float*>(shared);
  // The other task's row, so that a missing barrier shows.
  const int64_t other = m - 1 - row;
  for (int64_t j = 0; j < n; ++j) {
    sum[j] = 0;
    for (int64_t i = second ? k / 2 : 0; i < (second ? k : k / 2); ++i)
      sum[j] += x[i * p.inputs[0].strides[1]] * w[i * n + j];
    if (second)
      y[j * p.outputs[0].strides[1]] = kept[other * n + j] + sum[j];
    else
      kept[(m - 1 - row) * n + j] = sum[j];
  }
}

const CpuKernel kScale512{"toy_scale_avx512", "toy_scale", Isa::avx512,    accepts_scale,
                          no_tactics,         bind_rows,   run_scale<2000>};
const CpuKernel kScale2{"toy_scale_avx2", "toy_scale", Isa::avx2,      accepts_scale,
                        no_tactics,       bind_rows,   run_scale<1000>};
const CpuKernel kScale{"toy_scale_baseline", "toy_scale", Isa::baseline, accepts_scale,
                       no_tactics,           bind_rows,   run_scale<0>};
const CpuKernel kMatmul{
    "toy_matmul_baseline", "toy_matmul", Isa::baseline, accepts_matmul, no_tactics,
    bind_matmul,           run_matmul};
const CpuKernel* const kAll[] = {&kScale512, &kScale2, &kScale, &kMatmul};
}  // namespace

std::span<const CpuKernel* const> kernels() { return kAll; }

Expr Maker::symbol(const std::string& name, int64_t min, int64_t opt, int64_t max) {
  plan.symbols.push_back({.name = name,
                          .kind = PlanSymbol::Kind::input,
                          .min = min,
                          .opt = opt,
                          .max = max,
                          .bound = 0});
  return Expr::symbol(name);
}
Expr Maker::data_symbol(const std::string& name, const Expr& bound) {
  plan.symbols.push_back({.name = name, .kind = PlanSymbol::Kind::data, .bound = bound});
  return Expr::symbol(name);
}

namespace {
int add_value(Plan& plan, const std::string& name, DType dtype, const Shape& dims,
              PlanBuffer buffer) {
  plan.buffers.push_back(std::move(buffer));
  plan.values.push_back(
      {name, dtype, dims, static_cast<int>(plan.buffers.size()) - 1, 0, row_major(dims)});
  return static_cast<int>(plan.values.size()) - 1;
}
Expr bytes(DType dtype, const Shape& dims) {
  return element_count(dims) * Expr(static_cast<int64_t>(size_of(dtype)));
}
}  // namespace

int Maker::input(const std::string& name, DType dtype, const Shape& dims) {
  const int v = add_value(plan, name, dtype, dims,
                          {.kind = PlanBuffer::Kind::input,
                           .bytes = bytes(dtype, dims),
                           .io = static_cast<int>(plan.inputs.size())});
  plan.inputs.push_back({name, v});
  return v;
}
int Maker::output(const std::string& name, DType dtype, const Shape& dims) {
  const int v = add_value(plan, name, dtype, dims,
                          {.kind = PlanBuffer::Kind::output,
                           .bytes = bytes(dtype, dims),
                           .io = static_cast<int>(plan.outputs.size())});
  plan.outputs.push_back({name, v});
  return v;
}
int Maker::constant(const std::string& name, const Tensor& tensor) {
  plan.constants.push_back(tensor);
  return add_value(plan, name, tensor.dtype(), to_shape(tensor.dims()),
                   {.kind = PlanBuffer::Kind::constant,
                    .bytes = static_cast<int64_t>(tensor.bytes()),
                    .constant = static_cast<int>(plan.constants.size()) - 1});
}
int Maker::temporary(const std::string& name, DType dtype, const Shape& dims) {
  return add_value(plan, name, dtype, dims,
                   {.kind = PlanBuffer::Kind::arena, .bytes = bytes(dtype, dims)});
}
int Maker::view(const std::string& name, int of, const Shape& dims, const Expr& offset,
                const Shape& strides) {
  plan.values.push_back(
      {name, plan.values[of].dtype, dims, plan.values[of].buffer, offset, strides});
  return static_cast<int>(plan.values.size()) - 1;
}
Operand Maker::operand(int value, bool constant) const {
  const PlanValue& v = plan.values[value];
  return {v.dtype, v.dims, v.strides, constant};
}
Step Maker::scale(const std::string& name, int from, int to, double a, double b) const {
  Step s{.kind = Step::Kind::launch, .name = name, .inputs = {from}, .outputs = {to}};
  s.problem.family = "toy_scale";
  s.problem.inputs = {operand(from, false)};
  s.problem.outputs = {operand(to, false)};
  s.problem.floats = {{"a", a}, {"b", b}};
  return s;
}
Step Maker::matmul(const std::string& name, int from, int weight, int to) const {
  Step s{.kind = Step::Kind::launch, .name = name, .inputs = {from, weight}, .outputs = {to}};
  s.problem.family = "toy_matmul";
  s.problem.inputs = {operand(from, false), operand(weight, true)};
  s.problem.outputs = {operand(to, false)};
  return s;
}
Step Maker::host(const std::string& op, std::vector<int> inputs, std::vector<int> outputs,
                 Attrs attrs) {
  Step s{.kind = Step::Kind::host,
         .name = op,
         .inputs = std::move(inputs),
         .outputs = std::move(outputs)};
  s.op = op;
  s.attrs = std::move(attrs);
  return s;
}

}  // namespace vitrail::toy
