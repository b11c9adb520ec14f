// SPDX-License-Identifier: Apache-2.0
// ONNX Slice-13: a range of indices, with a step, along some axes.
#include <algorithm>

#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
// "To the end": exporters write INT64_MAX or INT32_MAX, and their negatives for "before the start";
// no symbolic extent is as long.
constexpr int64_t kToTheEnd = INT32_MAX;

struct Range {
  Expr start = 0, length;
  int64_t step = 1;
};

// Python's rule: negative indices count from the end. A symbolic index of unknown sign is assumed
// not to be negative, which a guard checks.
Expr from_front(InferContext& ctx, const Expr& index, const Expr& extent) {
  if (index.is_constant() && !extent.is_constant()) {
    if (index.constant() >= kToTheEnd) return extent;
    if (index.constant() <= -kToTheEnd) return -1;
  }
  const Interval bounds = index.bounds(ctx.ranges);
  if (bounds.low >= 0) return index;
  if (bounds.high < 0) return index + extent;
  ctx.equalities.push_back({min(index, 0), 0});
  return index;
}
Expr at_most(const InferContext& ctx, const Expr& e, const Expr& limit) {
  return at_least(ctx, limit - e, 0) ? e : min(e, limit);
}
Expr not_below(const InferContext& ctx, const Expr& e, int64_t limit) {
  return at_least(ctx, e, limit) ? e : max(e, limit);
}

Range range_of(InferContext& ctx, const Expr& start, const Expr& end, int64_t step,
               const Expr& extent) {
  require(step != 0 && step != INT64_MIN, Code::bad_input, "the step is {}", step);
  // INT64_MIN and its neighbours stand for "from the end on" and must not overflow.
  const auto sane = [](const Expr& e) {
    return e.is_constant() ? Expr(std::max(e.constant(), INT64_MIN / 4)) : e;
  };
  const Expr first = from_front(ctx, sane(start), extent),
             last = from_front(ctx, sane(end), extent);
  if (step > 0) {
    // A start beyond the end gives a negative length, that is none.
    const Expr from = not_below(ctx, first, 0);
    return {from, clamp_to_zero(ctx, ceildiv(at_most(ctx, last, extent) - from, step)), step};
  }
  const Expr from = at_most(ctx, first, extent - 1);
  return {from, clamp_to_zero(ctx, ceildiv(from - not_below(ctx, last, -1), -step)), step};
}

// Axis by axis. Where starts or ends are not known yet, the length is one that data decides.
std::vector<Range> ranges_of(InferContext& ctx) {
  const Shape& shape = ctx.in(0).shape;
  const int64_t count = list_length(ctx, 1, "starts");
  require(list_length(ctx, 2, "ends") == count, Code::bad_input, "{} starts but {} ends", count,
          list_length(ctx, 2, "ends"));
  std::vector<int64_t> axes(static_cast<size_t>(count)), steps(axes.size(), 1);
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  if (ctx.has(3)) axes = constant_list_of(ctx, 3, "axes");
  if (ctx.has(4)) steps = constant_list_of(ctx, 4, "steps");
  require(axes.size() == static_cast<size_t>(count) && steps.size() == axes.size(), Code::bad_input,
          "{} starts, {} axes, {} steps", count, axes.size(), steps.size());
  axes = normalize_axes(axes, shape.size(), "axis");
  const auto starts = list_of(ctx, 1, "starts"), ends = list_of(ctx, 2, "ends");
  std::vector<Range> out(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) out[d].length = shape[d];
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto d = static_cast<size_t>(axes[i]);
    if (starts && ends)
      out[d] = range_of(ctx, (*starts)[i], (*ends)[i], steps[i], shape[d]);
    else
      out[d].length = data_extent(ctx, "extent", shape[d]);
  }
  return out;
}

void infer_shape(InferContext& ctx) {
  ctx.out().dtype = ctx.in(0).dtype;
  for (const Range& range : ranges_of(ctx)) ctx.out().shape.push_back(range.length);
}
void reference(RunContext& ctx) {
  const Tensor& in = ctx.in(0);
  std::vector<Range> ranges;
  apply_rule(ctx, [&](InferContext& rule) { ranges = ranges_of(rule); });
  Dims dims, strides = row_major(in.dims());
  int64_t offset = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    const Range& range = ranges[d];
    dims.push_back(range.length.constant());
    // An empty axis is never read, and a start or step far outside must not overflow.
    if (dims.back() > 0) offset += range.start.constant() * strides[d];
    strides[d] = dims.back() > 1 ? strides[d] * range.step : 0;
  }
  ctx.out() = strided_copy(in, dims, offset, strides);
}
void infer(InferContext& ctx) {
  infer_shape(ctx);
  carry_content(ctx, reference);
}
std::vector<Sample> samples() {
  const auto list = [](const std::vector<int64_t>& v) {
    return SampleInput{.fixed = Tensor::of<int64_t>({static_cast<int64_t>(v.size())}, v)};
  };
  return {{.inputs = {{.dims = {5, 7, 3}}, list({1, -3}), list({4, INT64_MAX})}},
          {.inputs = {{.dims = {5, 7, 3}},
                      list({-1, 6}),
                      list({INT64_MIN, 0}),
                      list({0, -2}),
                      list({-1, -2})}},
          {.inputs = {{.dims = {5, 7}}, list({2}), list({100}), list({1}), list({3})}},
          {.inputs = {{.dims = {5, 7}}, list({9}), list({100}), list({1})}}};
}
}  // namespace
extern const OpDef slice_op{.name = "Slice",
                            .domain = "",
                            .version = 13,
                            .attrs = {},
                            .min_inputs = 3,
                            .max_inputs = 5,
                            .min_outputs = 1,
                            .max_outputs = 1,
                            .traits = {.view = true},
                            .infer = infer,
                            .reference = reference,
                            .samples = samples};
}  // namespace vitrail
