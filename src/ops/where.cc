// SPDX-License-Identifier: Apache-2.0
// ONNX Where: condition ? x : y, elementwise with numpy's broadcasting.
#include "ops/elementwise.h"

namespace vitrail {
namespace {
std::optional<std::vector<Expr>> content_of(const ValueInfo& condition, const ValueInfo& x,
                                            const ValueInfo& y) {
  if (condition.rank() > 1 || x.rank() > 1 || y.rank() > 1) return {};
  const auto c = condition.ints(), a = x.ints(), b = y.ints();
  if (!c || !a || !b) return {};
  const size_t sizes[] = {c->size(), a->size(), b->size()};
  size_t size = 1;
  for (size_t s : sizes)
    if (s != 1) size = s;
  for (size_t s : sizes)
    if (s != 1 && s != size) return {};
  const auto at = [](const std::vector<Expr>& list, size_t i) {
    return list[list.size() == 1 ? 0 : i];
  };
  std::vector<Expr> out;
  for (size_t i = 0; i < size; ++i) {
    const Expr chosen = at(*c, i), yes = at(*a, i), no = at(*b, i);
    if (yes == no)
      out.push_back(yes);
    else if (chosen.is_constant())
      out.push_back(chosen.is(0) ? no : yes);
    else
      return {};
  }
  return out;
}
void infer(InferContext& ctx) {
  const ValueInfo &condition = ctx.in(0), &x = ctx.in(1), &y = ctx.in(2);
  require(condition.dtype == DType::boolean, Code::bad_input, "the condition is {}, bool is needed",
          name_of(condition.dtype));
  require(x.dtype == y.dtype, Code::bad_input, "the choices are {} and {}", name_of(x.dtype),
          name_of(y.dtype));
  ctx.out().dtype = x.dtype;
  ctx.out().shape = ctx.broadcast(ctx.broadcast(x.shape, y.shape), condition.shape);
  ctx.out().content = content_of(condition, x, y);
}
void reference(RunContext& ctx) {
  const Tensor &condition = ctx.in(0), &x = ctx.in(1), &y = ctx.in(2);
  require(x.dtype() == y.dtype(), Code::bad_input, "Where: the choices are {} and {}",
          name_of(x.dtype()), name_of(y.dtype()));
  const Dims dims = broadcast(broadcast(x.dims(), y.dims()), condition.dims());
  with_type(x.dtype(), "Where", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), dims);
    T* to = ctx.out().mutable_data<T>();
    const bool* c = condition.data<bool>();
    const T *a = x.data<T>(), *b = y.data<T>();
    for (BroadcastRows row(dims, {condition.dims(), x.dims(), y.dims()}); !row.done(); row.next())
      for (int64_t i = 0; i < row.length(); ++i)
        *to++ = c[row.at(0) + i * row.step(0)] ? a[row.at(1) + i * row.step(1)]
                                               : b[row.at(2) + i * row.step(2)];
  });
}
std::vector<Sample> samples() {
  const SampleInput x{.dims = {2, 3, 5}};
  const SampleInput ints{.dtype = DType::i64, .dims = {4}, .low = 0, .high = 9};
  return {
      {.inputs = {{.dtype = DType::boolean, .dims = {2, 3, 5}}, x, x}},
      {.inputs = {{.dtype = DType::boolean, .dims = {3, 1}}, {.dims = {5}}, {.dims = {2, 1, 1}}}},
      {.inputs = {{.dtype = DType::boolean, .dims = {4}},
                  ints,
                  {.dtype = DType::i64, .dims = {}, .low = 0, .high = 9}}}};
}
}  // namespace
extern const OpDef where_op{.name = "Where",
                            .domain = "",
                            .version = 9,
                            .attrs = {},
                            .min_inputs = 3,
                            .max_inputs = 3,
                            .min_outputs = 1,
                            .max_outputs = 1,
                            .traits = {.elementwise = true},
                            .infer = infer,
                            .reference = reference,
                            .samples = samples};
}  // namespace vitrail
