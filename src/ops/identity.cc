// SPDX-License-Identifier: Apache-2.0
// ONNX Identity, and Dropout as it is in inference: the identity with a mask of ones.
#include <algorithm>

#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer_identity(InferContext& ctx) {
  infer_same(ctx);
  ctx.out().content = ctx.in(0).ints();
}
void identity(RunContext& ctx) { ctx.out() = ctx.in(0); }

void infer_dropout(InferContext& ctx) {
  infer_float(ctx);
  if (ctx.has(2)) {
    const auto training = ctx.in(2).ints();
    require(training && training->size() == 1 && (*training)[0].is(0), Code::unsupported,
            "training mode (input 2 must be a constant false)");
  }
  if (ctx.outputs.size() < 2) return;
  ctx.out(1).dtype = DType::boolean;
  ctx.out(1).shape = ctx.in(0).shape;
}
void dropout(RunContext& ctx) {
  ctx.out() = ctx.in(0);
  if (ctx.outputs.size() < 2) return;
  ctx.out(1) = Tensor(DType::boolean, ctx.in(0).dims());
  std::fill_n(ctx.out(1).mutable_data<bool>(), ctx.out(1).size(), true);
}

std::vector<Sample> identity_samples() {
  return {{.inputs = {{.dims = {3, 5}}}},
          {.inputs = {{.dtype = DType::i64, .dims = {3}, .low = 0, .high = 9}}}};
}
std::vector<Sample> dropout_samples() {
  const SampleInput x{.dims = {3, 5}}, ratio{.dims = {}, .fixed = Tensor::scalar(0.25f)};
  const SampleInput training{
      .dtype = DType::boolean, .dims = {}, .fixed = Tensor::scalar<bool>(false)};
  return {{.inputs = {x}, .attrs = {{"seed", int64_t{7}}}},
          {.inputs = {x, ratio, training}, .outputs = 2}};
}
}  // namespace
extern const OpDef dropout_op{.name = "Dropout",
                              .domain = "",
                              .version = 12,
                              .attrs = {{"seed", AttrKind::integer}},
                              .min_inputs = 1,
                              .max_inputs = 3,
                              .min_outputs = 1,
                              .max_outputs = 2,
                              .traits = {.elementwise = true},
                              .infer = infer_dropout,
                              .reference = dropout,
                              .samples = dropout_samples};
extern const OpDef identity_op = unary_op("Identity", 1, identity, identity_samples,
                                          {.elementwise = true, .view = true}, {}, infer_identity);
}  // namespace vitrail
