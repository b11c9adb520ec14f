// SPDX-License-Identifier: Apache-2.0
// ONNX Clip: min(max(x, low), high) with optional scalar bounds; low > high gives high.
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer(InferContext& ctx) {
  infer_numeric(ctx);
  for (size_t i = 1; i <= 2; ++i) {
    if (!ctx.has(i)) continue;
    require_same_type(ctx, i);
    // One element under any rank: exporters write [1] where the specification says scalar.
    const Expr count = element_count(ctx.in(i).shape);
    require(!count.is_constant() || count.is(1), Code::bad_input,
            "bound {} has shape {}, a scalar is needed", i, to_string(ctx.in(i).shape));
  }
  auto content = ctx.in(0).ints();
  for (size_t i = 1; i <= 2 && content; ++i) {
    if (!ctx.has(i)) continue;
    const auto bound = ctx.in(i).ints();
    if (!bound || bound->size() != 1) return;
    for (Expr& e : *content) e = i == 1 ? max(e, (*bound)[0]) : min(e, (*bound)[0]);
  }
  ctx.out().content = std::move(content);
}
void reference(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  with_type(x.dtype(), "Clip", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    T* to = ctx.out().mutable_data<T>();
    for (size_t i = 1; i <= 2; ++i)
      require(!ctx.has(i) || ctx.in(i).size() == 1, Code::bad_input,
              "Clip: bound {} has {} elements", i, ctx.has(i) ? ctx.in(i).size() : 0);
    const T* low = ctx.has(1) ? ctx.in(1).data<T>() : nullptr;
    const T* high = ctx.has(2) ? ctx.in(2).data<T>() : nullptr;
    for (int64_t i = 0; i < x.size(); ++i) {
      T value = x.data<T>()[i];
      if (low && value < *low) value = *low;
      if (high && value > *high) value = *high;
      to[i] = value;
    }
  });
}
std::vector<Sample> samples() {
  const SampleInput x{.dims = {3, 17}}, none{.absent = true};
  const SampleInput low{.dims = {}, .fixed = Tensor::scalar(-0.5f)},
      high{.dims = {}, .fixed = Tensor::scalar(0.25f)};
  return {{.inputs = {x}},
          {.inputs = {x, low}},
          {.inputs = {x, none, high}},
          {.inputs = {x, low, high}},
          {.inputs = {{.dtype = DType::i32, .dims = {9}, .low = -9, .high = 9},
                      {.dtype = DType::i32, .dims = {}, .fixed = Tensor::scalar<int32_t>(2)}}}};
}
}  // namespace
extern const OpDef clip_op{.name = "Clip",
                           .domain = "",
                           .version = 11,
                           .attrs = {},
                           .min_inputs = 1,
                           .max_inputs = 3,
                           .min_outputs = 1,
                           .max_outputs = 1,
                           .traits = {.elementwise = true},
                           .infer = infer,
                           .reference = reference,
                           .samples = samples};
}  // namespace vitrail
