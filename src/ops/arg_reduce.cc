// SPDX-License-Identifier: Apache-2.0
// ONNX ArgMax, ArgMin and Hardmax: where the extreme along an axis is. NaN counts as extreme, as in
// numpy; of equals the first wins (select_last_index = 1: the last).
#include <algorithm>

#include "ops/axes.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer(InferContext& ctx) {
  require_numeric(ctx);
  const ValueInfo& x = ctx.in(0);
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis", 0), x.rank(), "axis"));
  ctx.out().dtype = DType::i64;
  ctx.out().shape = x.shape;
  if (ctx.attrs.integer("keepdims", 1) != 0)
    ctx.out().shape[axis] = 1;
  else
    ctx.out().shape.erase(ctx.out().shape.begin() + static_cast<std::ptrdiff_t>(axis));
}
void infer_hardmax(InferContext& ctx) {
  infer_float(ctx);
  normalize_axis(ctx.attrs.integer("axis", -1), ctx.in(0).rank(), "axis");
}

// Index of the element that beats all others, for elements `stride` apart.
template <typename T, typename Better>
int64_t find_extreme(const T* x, int64_t count, int64_t stride, bool last, Better better) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; ++i) {
    const T value = x[i * stride], so_far = x[best * stride];
    if (so_far != so_far && !(last && value != value)) continue;
    if (value != value || better(value, so_far) || (last && value == so_far)) best = i;
  }
  return best;
}
template <typename Better>
void arg(RunContext& ctx, const char* op, Better better) {
  const Tensor& x = ctx.in(0);
  const int64_t axis = normalize_axis(ctx.attrs.integer("axis", 0), x.rank(), "axis");
  const bool last = ctx.attrs.integer("select_last_index", 0) != 0;
  const AxisSplit split = split_at(x.dims(), axis);
  Dims dims = x.dims();
  if (ctx.attrs.integer("keepdims", 1) != 0)
    dims[static_cast<size_t>(axis)] = 1;
  else
    dims.erase(dims.begin() + axis);
  ctx.out() = Tensor(DType::i64, dims);
  require(split.extent > 0 || ctx.out().size() == 0, Code::bad_input,
          "{}: the extreme of no elements", op);
  int64_t* to = ctx.out().mutable_data<int64_t>();
  with_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t o = 0; o < split.outer; ++o)
      for (int64_t i = 0; i < split.inner; ++i)
        *to++ = find_extreme(x.data<T>() + o * split.extent * split.inner + i, split.extent,
                             split.inner, last, better);
  });
}
void arg_max(RunContext& ctx) {
  arg(ctx, "ArgMax", [](auto a, auto b) { return a > b; });
}
void arg_min(RunContext& ctx) {
  arg(ctx, "ArgMin", [](auto a, auto b) { return a < b; });
}
void hardmax(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  const AxisSplit split =
      split_at(x.dims(), normalize_axis(ctx.attrs.integer("axis", -1), x.rank(), "axis"));
  with_float_type(x.dtype(), "Hardmax", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    T* to = ctx.out().mutable_data<T>();
    std::fill_n(to, x.size(), T{0});
    if (x.size() == 0) return;
    for (int64_t o = 0; o < split.outer; ++o)
      for (int64_t i = 0; i < split.inner; ++i) {
        const int64_t first = o * split.extent * split.inner + i;
        const auto greater = [](T a, T b) { return a > b; };
        to[first + find_extreme(x.data<T>() + first, split.extent, split.inner, false, greater) *
                       split.inner] = 1;
      }
  });
}

std::vector<Sample> samples() {
  const SampleInput ties{.dtype = DType::i32, .dims = {3, 9}, .low = 0, .high = 3};
  return {
      {.inputs = {{.dims = {3, 4, 5}}}},
      {.inputs = {{.dims = {3, 4, 5}}}, .attrs = {{"axis", int64_t{-2}}, {"keepdims", int64_t{0}}}},
      {.inputs = {ties}, .attrs = {{"axis", int64_t{1}}}},
      {.inputs = {ties}, .attrs = {{"axis", int64_t{1}}, {"select_last_index", int64_t{1}}}}};
}
std::vector<Sample> hardmax_samples() {
  return {{.inputs = {{.dims = {3, 4, 5}}}},
          {.inputs = {{.dims = {3, 4, 5}}}, .attrs = {{"axis", int64_t{1}}}}};
}
OpDef arg_op(const char* name, void (*reference)(RunContext&)) {
  return unary_op(name, 12, reference, samples, {.discontinuous = true, .reduction = true},
                  {{"axis", AttrKind::integer},
                   {"keepdims", AttrKind::integer},
                   {"select_last_index", AttrKind::integer}},
                  infer);
}
}  // namespace
extern const OpDef arg_max_op = arg_op("ArgMax", arg_max);
extern const OpDef arg_min_op = arg_op("ArgMin", arg_min);
extern const OpDef hardmax_op =
    unary_op("Hardmax", 13, hardmax, hardmax_samples, {.discontinuous = true, .reduction = true},
             {{"axis", AttrKind::integer}}, infer_hardmax);
}  // namespace vitrail
