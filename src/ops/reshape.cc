// SPDX-License-Identifier: Apache-2.0
// ONNX Reshape-14 and Flatten-13: the same elements under other extents.
#include <algorithm>

#include "ops/rules.h"

namespace vitrail {
namespace {
// Products of the extents that are not on both sides. Cancelling first keeps the division of
// [B, H*W+1, C] by what is known exact, where expanded products would hide the common factor. A
// constant zero is not cancelled: it decides whether -1 can be solved.
std::pair<Expr, Expr> reduced_products(Shape from, Shape to) {
  for (size_t i = 0; i < to.size();) {
    const auto same = std::find(from.begin(), from.end(), to[i]);
    if (same == from.end() || to[i].is(0)) {
      ++i;
      continue;
    }
    from.erase(same);
    to.erase(to.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return {element_count(from), element_count(to)};
}

Expr solve_missing(InferContext& ctx, const Shape& from, const Shape& known) {
  const auto [total, rest] = reduced_products(from, known);
  require(!rest.is(0), Code::bad_input, "shape {} cannot become one with zero elements and a -1",
          to_string(from));
  Expr quotient;
  if (divides(rest, total, &quotient)) return quotient;
  require(!(rest.is_constant() && total.is_constant()), Code::bad_input,
          "shape {} cannot become {} with one more extent (-1): {} is not divisible by {}",
          to_string(from), to_string(known), total.str(), rest.str());
  quotient = floordiv(total, rest);
  ctx.equalities.push_back({quotient * rest, total});
  return quotient;
}

void infer(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  ctx.out().dtype = in.dtype;
  const int64_t rank = list_length(ctx, 1, "the target shape");
  const auto target = list_of(ctx, 1, "the target shape");
  const bool allow_zero = ctx.attrs.integer("allowzero", 0) != 0;
  Shape& out = ctx.out().shape;
  if (!target) {
    for (int64_t i = 0; i < rank; ++i)
      out.push_back(data_extent(ctx, "extent", element_count(in.shape)));
    return;
  }
  std::optional<size_t> missing;
  bool zero = false;
  Shape known;
  for (size_t i = 0; i < target->size(); ++i) {
    Expr extent = (*target)[i];
    if (extent.is(-1)) {
      require(!missing, Code::bad_input, "the target shape {} has two -1", to_string(*target));
      missing = i;
      out.push_back(0);
      continue;
    }
    require_extent(ctx, extent, "an extent of the target shape");
    zero |= extent.is(0);
    if (extent.is(0) && !allow_zero) {
      require(i < in.rank(), Code::bad_input,
              "the target shape {} copies extent {} of an input of shape {}", to_string(*target), i,
              to_string(in.shape));
      extent = in.shape[i];
    }
    out.push_back(extent);
    known.push_back(extent);
  }
  require(!(zero && allow_zero && missing), Code::bad_input,
          "the target shape {} has both 0 and -1 with allowzero", to_string(*target));
  if (missing) {
    out[*missing] = solve_missing(ctx, in.shape, known);
  } else {
    const auto [a, b] = reduced_products(in.shape, known);
    const Interval difference = (a - b).bounds(ctx.ranges);
    require(difference.low <= 0 && difference.high >= 0, Code::bad_input,
            "shape {} cannot become {}: {} and {} elements", to_string(in.shape), to_string(known),
            element_count(in.shape).str(), element_count(known).str());
    if (!(a == b)) ctx.equalities.push_back({a, b});
  }
  ctx.out().content = in.ints();
}
void reference(RunContext& ctx) { ctx.out() = ctx.in(0).reshaped(dims_by_rule(ctx, infer)); }
std::vector<Sample> samples() {
  const auto to = [](const std::vector<int64_t>& target) {
    return SampleInput{.fixed = Tensor::of<int64_t>({static_cast<int64_t>(target.size())}, target)};
  };
  return {{.inputs = {{.dims = {2, 3, 10}}, to({2, 0, 2, 5})}},
          {.inputs = {{.dims = {2, 3, 10}}, to({5, -1})}},
          {.inputs = {{.dims = {2, 0, 10}}, to({0, 7})}, .attrs = {{"allowzero", int64_t{1}}}},
          {.inputs = {{.dtype = DType::i64, .dims = {1}}, to({})}}};
}

void infer_flatten(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  const int64_t given = ctx.attrs.integer("axis", 1), rank = static_cast<int64_t>(in.rank());
  require(-rank <= given && given <= rank, Code::bad_input, "axis {} is out of range for rank {}",
          given, rank);
  const auto middle = in.shape.begin() + (given < 0 ? given + rank : given);
  ctx.out().dtype = in.dtype;
  ctx.out().shape = {element_count(Shape(in.shape.begin(), middle)),
                     element_count(Shape(middle, in.shape.end()))};
}
void flatten(RunContext& ctx) { ctx.out() = ctx.in(0).reshaped(dims_by_rule(ctx, infer_flatten)); }
std::vector<Sample> flatten_samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}}},
          {.inputs = {{.dims = {2, 3, 5}}}, .attrs = {{"axis", int64_t{0}}}},
          {.inputs = {{.dims = {2, 3, 5, 7}}}, .attrs = {{"axis", int64_t{-1}}}}};
}
}  // namespace
extern const OpDef reshape_op{.name = "Reshape",
                              .domain = "",
                              .version = 14,
                              .attrs = {{"allowzero", AttrKind::integer}},
                              .min_inputs = 2,
                              .max_inputs = 2,
                              .min_outputs = 1,
                              .max_outputs = 1,
                              .traits = {.view = true},
                              .infer = infer,
                              .reference = reference,
                              .samples = samples};
extern const OpDef flatten_op{.name = "Flatten",
                              .domain = "",
                              .version = 13,
                              .attrs = {{"axis", AttrKind::integer}},
                              .min_inputs = 1,
                              .max_inputs = 1,
                              .min_outputs = 1,
                              .max_outputs = 1,
                              .traits = {.view = true},
                              .infer = infer_flatten,
                              .reference = flatten,
                              .samples = flatten_samples};
}  // namespace vitrail
