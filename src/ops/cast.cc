// SPDX-License-Identifier: Apache-2.0
// ONNX Cast and CastLike. Float to integer truncates (and saturates, where ONNX leaves it open).
#include "ops/elementwise.h"

namespace vitrail {
namespace {
bool holds_whole_numbers(DType t) {
  return t == DType::i32 || t == DType::i64 || t == DType::f32 || t == DType::f64;
}

// Contents are extents or arithmetic on them, which these types hold exactly.
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
  } else if (holds_whole_numbers(to) &&
             (holds_whole_numbers(x.dtype) || x.dtype == DType::boolean)) {
    ctx.out().content = x.ints();
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
