// SPDX-License-Identifier: Apache-2.0
// ONNX TopK-11: the k largest or smallest elements along an axis and where they were.
#include <algorithm>
#include <numeric>

#include "ops/elementwise.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
void infer(InferContext& ctx) {
  require_numeric(ctx);
  const ValueInfo& in = ctx.in(0);
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis", -1), in.rank(), "axis"));
  require(list_length(ctx, 1, "k") == 1, Code::bad_input, "k has shape {}, expected one element",
          to_string(ctx.in(1).shape));
  const auto known = list_of(ctx, 1, "k");
  const Expr k = known ? (*known)[0] : data_extent(ctx, "k", in.shape[axis]);
  require_extent(ctx, k, "k");
  const Expr slack = in.shape[axis] - k;
  require(slack.bounds(ctx.ranges).high >= 0, Code::bad_input,
          "k is {} but axis {} has {} elements", k.str(), axis, in.shape[axis].str());
  if (known && !at_least(ctx, slack, 0)) ctx.equalities.push_back({min(slack, 0), 0});
  for (size_t i = 0; i < ctx.outputs.size(); ++i) {
    ctx.out(i).dtype = i == 0 ? in.dtype : DType::i64;
    ctx.out(i).shape = in.shape;
    ctx.out(i).shape[axis] = k;
  }
}
void reference(RunContext& ctx) {
  const Tensor& in = ctx.in(0);
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis", -1), in.rank(), "axis"));
  const Dims dims = dims_by_rule(ctx, infer);
  const bool largest = ctx.attrs.integer("largest", 1) != 0;
  const int64_t n = in.dims()[axis], k = dims[axis];
  const int64_t inner = element_count(
      Dims(in.dims().begin() + static_cast<std::ptrdiff_t>(axis) + 1, in.dims().end()));
  const int64_t outer =
      element_count(Dims(in.dims().begin(), in.dims().begin() + static_cast<std::ptrdiff_t>(axis)));
  with_type(in.dtype(), "TopK", [&](auto tag) {
    using T = decltype(tag);
    Tensor values(in.dtype(), dims), indices(DType::i64, dims);
    const T* x = in.data<T>();
    std::vector<int64_t> order(static_cast<size_t>(n));
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        const auto value = [&](int64_t j) { return x[(o * n + j) * inner + i]; };
        // NaN counts as larger than any number; equal elements keep their order.
        const auto less = [&](T a, T b) { return a < b || (a == a && b != b); };
        std::iota(order.begin(), order.end(), int64_t{0});
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
          return largest ? less(value(b), value(a)) : less(value(a), value(b));
        });
        // sorted = 0 leaves the order open; this one is as good.
        for (int64_t j = 0; j < k; ++j) {
          const int64_t at = (o * k + j) * inner + i, from = order[static_cast<size_t>(j)];
          values.template mutable_data<T>()[at] = value(from);
          indices.mutable_data<int64_t>()[at] = from;
        }
      }
    ctx.out() = std::move(values);
    if (ctx.outputs.size() > 1) ctx.out(1) = std::move(indices);
  });
}
std::vector<Sample> samples() {
  const SampleInput three{.fixed = Tensor::of<int64_t>({1}, {3})};
  return {
      {.inputs = {{.dims = {2, 7}}, three}, .outputs = 2},
      {.inputs = {{.dims = {5, 3, 2}}, three},
       .attrs = {{"axis", int64_t{0}}, {"largest", int64_t{0}}, {"sorted", int64_t{1}}},
       .outputs = 2},
      {.inputs = {{.dtype = DType::i64, .dims = {9}, .low = 0, .high = 3}, three}, .outputs = 2}};
}
}  // namespace
extern const OpDef top_k_op{.name = "TopK",
                            .domain = "",
                            .version = 11,
                            .attrs = {{"axis", AttrKind::integer},
                                      {"largest", AttrKind::integer},
                                      {"sorted", AttrKind::integer}},
                            .min_inputs = 2,
                            .max_inputs = 2,
                            .min_outputs = 2,
                            .max_outputs = 2,
                            .traits = {.discontinuous = true},
                            .infer = infer,
                            .reference = reference,
                            .samples = samples};
}  // namespace vitrail
