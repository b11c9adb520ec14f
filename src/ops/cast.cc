// SPDX-License-Identifier: Apache-2.0
// ONNX Cast, CastLike and BitCast. Float to integer truncates (and saturates, where ONNX leaves it
// open).
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer_to(InferContext& ctx, DType to) {
  const ValueInfo& x = ctx.in(0);
  require(x.dtype != DType::string && to != DType::string, Code::unsupported,
          "conversion of strings");
  ctx.out().dtype = to;
  ctx.out().shape = x.shape;
  if (to == DType::boolean) {
    ctx.out().content = map_content(
        x,
        [](const Expr& e, const Ranges& ranges) -> std::optional<Expr> {
          const Interval range = e.bounds(ranges);
          if (range.low > 0 || range.high < 0) return Expr(1);
          if (e.is(0)) return e;
          return {};
        },
        ctx.ranges);
  } else {
    set_content(ctx.out(), x.ints());
  }
}
void infer_cast(InferContext& ctx) { infer_to(ctx, dtype_of_onnx_number(ctx.attrs.integer("to"))); }
void infer_cast_like(InferContext& ctx) { infer_to(ctx, ctx.in(1).dtype); }

Tensor convert(const RunContext& ctx, DType to) {
  const bool keep = ctx.wide && is_float(to);
  return ctx.in(0).cast(keep ? DType::f64 : to);
}
void cast(RunContext& ctx) {
  ctx.out() = convert(ctx, dtype_of_onnx_number(ctx.attrs.integer("to")));
}
void cast_like(RunContext& ctx) { ctx.out() = convert(ctx, ctx.in(1).dtype()); }

// The bits of each element under another type of the same width.
void infer_bit_cast(InferContext& ctx) {
  const DType from = ctx.in(0).dtype, to = dtype_of_onnx_number(ctx.attrs.integer("to"));
  require(size_of(from) == size_of(to) && size_of(to) > 0, Code::bad_input,
          "the bits of {} are not those of {}", name_of(from), name_of(to));
  ctx.out().dtype = to;
  ctx.out().shape = ctx.in(0).shape;
}
void bit_cast(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  ctx.out() = Tensor(dtype_of_onnx_number(ctx.attrs.integer("to")), x.dims());
  // Floats arrive widened where the caller computes in f64 or the type is a half; then there are no
  // bits of the declared type to look at.
  require(size_of(ctx.out().dtype()) == size_of(x.dtype()), Code::unsupported,
          "BitCast: the bits of {} as {}", name_of(x.dtype()), name_of(ctx.out().dtype()));
  if (x.bytes() > 0) std::memcpy(ctx.out().mutable_raw(), x.raw(), x.bytes());
}

std::vector<Sample> bit_cast_samples() {
  return {{.inputs = {{.dtype = DType::i32, .dims = {3, 5}, .low = 0, .high = 1 << 30}},
           .attrs = {{"to", onnx_number_of(DType::f32)}}},
          {.inputs = {{.dtype = DType::u8, .dims = {3}, .low = 0, .high = 255}},
           .attrs = {{"to", onnx_number_of(DType::i8)}}}};
}
std::vector<Sample> cast_samples() {
  const auto to = [](DType t) { return Attrs{{"to", onnx_number_of(t)}}; };
  const SampleInput floats{.dims = {3, 5}, .low = -9, .high = 9},
      ints{.dtype = DType::i64, .dims = {5}, .low = -3, .high = 3};
  Attrs saturate = to(DType::i32);
  saturate.set("saturate", int64_t{1});
  Attrs rounding = to(DType::u8);
  rounding.set("round_mode", std::string("up"));
  return {{.inputs = {floats}, .attrs = to(DType::i64)},
          {.inputs = {floats}, .attrs = to(DType::f16)},
          {.inputs = {ints}, .attrs = to(DType::f32)},
          {.inputs = {ints}, .attrs = to(DType::boolean)},
          {.inputs = {{.dtype = DType::boolean, .dims = {4}}}, .attrs = to(DType::i64)},
          {.inputs = {floats}, .attrs = saturate},
          {.inputs = {{.dims = {4}, .low = 0, .high = 9}}, .attrs = rounding}};
}
std::vector<Sample> cast_like_samples() {
  const SampleInput floats{.dims = {3, 5}, .low = -9, .high = 9};
  return {{.inputs = {floats, {.dtype = DType::i32, .dims = {2}}}},
          {.inputs = {floats, {.dtype = DType::boolean, .dims = {}}},
           .attrs = {{"saturate", int64_t{0}}}},
          {.inputs = {floats, {.dtype = DType::i64, .dims = {}}},
           .attrs = {{"round_mode", std::string("up")}}}};
}
}  // namespace
extern const OpDef bit_cast_op = unary_op("BitCast", 26, bit_cast, bit_cast_samples,
                                          {.elementwise = true, .discontinuous = true},
                                          {{"to", AttrKind::integer, true}}, infer_bit_cast);
// `saturate` and `round_mode` speak of 8-bit floats, which vitrail does not have.
extern const OpDef cast_op{.name = "Cast",
                           .domain = "",
                           .version = 6,
                           .attrs = {{"to", AttrKind::integer, true},
                                     {"saturate", AttrKind::integer},
                                     {"round_mode", AttrKind::text}},
                           .min_inputs = 1,
                           .max_inputs = 1,
                           .min_outputs = 1,
                           .max_outputs = 1,
                           .traits = {.elementwise = true},
                           .infer = infer_cast,
                           .reference = cast,
                           .samples = cast_samples};
extern const OpDef cast_like_op{
    .name = "CastLike",
    .domain = "",
    .version = 15,
    .attrs = {{"saturate", AttrKind::integer}, {"round_mode", AttrKind::text}},
    .min_inputs = 2,
    .max_inputs = 2,
    .min_outputs = 1,
    .max_outputs = 1,
    .traits = {.elementwise = true},
    .infer = infer_cast_like,
    .reference = cast_like,
    .samples = cast_like_samples};
}  // namespace vitrail
