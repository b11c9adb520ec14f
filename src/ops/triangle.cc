// SPDX-License-Identifier: Apache-2.0
// ONNX Trilu and EyeLike: what is above and below a diagonal.
#include <algorithm>

#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer_trilu(InferContext& ctx) {
  infer_same(ctx);
  require(ctx.in(0).rank() >= 2, Code::bad_input, "input 0 has shape {}, matrices are needed",
          to_string(ctx.in(0).shape));
  if (!ctx.has(1)) return;
  require(ctx.in(1).dtype == DType::i64, Code::bad_input, "the diagonal is {}, i64 is needed",
          name_of(ctx.in(1).dtype));
}
// The diagonal as a number that cannot overflow when a column is subtracted.
int64_t clamped(int64_t diagonal) {
  return std::clamp<int64_t>(diagonal, -(int64_t{1} << 62), int64_t{1} << 62);
}
void trilu(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  require(!ctx.has(1) || ctx.in(1).size() == 1, Code::bad_input,
          "Trilu: the diagonal is not one number");
  const int64_t diagonal = ctx.has(1) ? clamped(ctx.in(1).int_at(0)) : 0;
  const bool upper = ctx.attrs.integer("upper", 1) != 0;
  const int64_t rows = x.dims()[x.rank() - 2], columns = x.dims()[x.rank() - 1];
  with_type(x.dtype(), "Trilu", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    T* to = ctx.out().mutable_data<T>();
    for (int64_t i = 0; i < x.size(); ++i) {
      const int64_t row = i / columns % rows, offset = i % columns - row;
      to[i] = (upper ? offset >= diagonal : offset <= diagonal) ? x.data<T>()[i] : T{0};
    }
  });
}

DType eye_type(const Attrs& attrs, DType input) {
  return attrs.has("dtype") ? dtype_of_onnx_number(attrs.integer("dtype")) : input;
}
void infer_eye(InferContext& ctx) {
  infer_same(ctx);
  require(ctx.in(0).rank() == 2, Code::bad_input, "input 0 has shape {}, a matrix is needed",
          to_string(ctx.in(0).shape));
  ctx.out().dtype = eye_type(ctx.attrs, ctx.in(0).dtype);
}
void eye(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  const int64_t diagonal = clamped(ctx.attrs.integer("k", 0)), columns = x.dims()[1];
  Tensor out(DType::u8, x.dims());
  for (int64_t i = 0; i < x.size(); ++i)
    out.mutable_data<uint8_t>()[i] = i % columns - i / columns == diagonal;
  ctx.out() = out.cast(eye_type(ctx.attrs, x.dtype()));
}

std::vector<Sample> trilu_samples() {
  const SampleInput x{.dims = {2, 4, 5}},
      k{.dtype = DType::i64, .fixed = Tensor::scalar<int64_t>(-2)};
  return {{.inputs = {x}},
          {.inputs = {x, k}},
          {.inputs = {x, k}, .attrs = {{"upper", int64_t{0}}}},
          {.inputs = {{.dtype = DType::i64, .dims = {3, 3}, .low = 1, .high = 9}},
           .attrs = {{"upper", int64_t{0}}}}};
}
std::vector<Sample> eye_samples() {
  return {{.inputs = {{.dims = {3, 4}}}},
          {.inputs = {{.dims = {4, 3}}},
           .attrs = {{"k", int64_t{-1}}, {"dtype", onnx_number_of(DType::i32)}}}};
}
}  // namespace
extern const OpDef eye_like_op =
    unary_op("EyeLike", 9, eye, eye_samples, {},
             {{"dtype", AttrKind::integer}, {"k", AttrKind::integer}}, infer_eye);
extern const OpDef trilu_op{.name = "Trilu",
                            .domain = "",
                            .version = 14,
                            .attrs = {{"upper", AttrKind::integer}},
                            .min_inputs = 1,
                            .max_inputs = 2,
                            .min_outputs = 1,
                            .max_outputs = 1,
                            .traits = {},
                            .infer = infer_trilu,
                            .reference = trilu,
                            .samples = trilu_samples};
}  // namespace vitrail
