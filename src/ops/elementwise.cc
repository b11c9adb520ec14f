// SPDX-License-Identifier: Apache-2.0
#include "ops/elementwise.h"

namespace vitrail {

void infer_same(InferContext& ctx) {
  ctx.out().dtype = ctx.in(0).dtype;
  ctx.out().shape = ctx.in(0).shape;
}
void require_float(InferContext& ctx, size_t i) {
  require(is_float(ctx.in(i).dtype), Code::bad_input, "input {} is {}, a float type is needed", i,
          name_of(ctx.in(i).dtype));
}
void require_numeric(InferContext& ctx, size_t i) {
  const DType t = ctx.in(i).dtype;
  require(is_float(t) || is_integer(t), Code::bad_input, "input {} is {}, a number is needed", i,
          name_of(t));
}
void require_same_type(InferContext& ctx, size_t i) {
  require(ctx.in(0).dtype == ctx.in(i).dtype, Code::bad_input, "input 0 is {} but input {} is {}",
          name_of(ctx.in(0).dtype), i, name_of(ctx.in(i).dtype));
}
void infer_float(InferContext& ctx) {
  require_float(ctx);
  infer_same(ctx);
}
void infer_numeric(InferContext& ctx) {
  require_numeric(ctx);
  infer_same(ctx);
}

namespace {
// Arithmetic on extents that leaves int64, or divides by zero, has no content; the model may never
// run it.
template <typename F>
std::optional<Expr> guarded(F f) {
  try {
    return f();
  } catch (const Error&) {
    return {};
  }
}
}  // namespace

std::optional<std::vector<Expr>> combine_contents(const ValueInfo& a, const ValueInfo& b,
                                                  Combine combine, const Ranges& ranges) {
  if (a.rank() > 1 || b.rank() > 1) return {};
  const auto x = a.ints();
  if (!x) return {};
  const auto y = b.ints();
  if (!y || (x->size() != y->size() && x->size() != 1 && y->size() != 1)) return {};
  std::vector<Expr> out;
  const size_t size = x->size() == 1 ? y->size() : x->size();
  for (size_t i = 0; i < size; ++i) {
    auto element = guarded([&] {
      return combine((*x)[x->size() == 1 ? 0 : i], (*y)[y->size() == 1 ? 0 : i], ranges);
    });
    if (!element) return {};
    out.push_back(std::move(*element));
  }
  return out;
}
std::optional<std::vector<Expr>> map_content(const ValueInfo& a,
                                             std::optional<Expr> (*f)(const Expr&, const Ranges&),
                                             const Ranges& ranges) {
  auto x = a.ints();
  if (!x) return {};
  for (Expr& e : *x) {
    auto element = guarded([&] { return f(e, ranges); });
    if (!element) return {};
    e = std::move(*element);
  }
  return x;
}

void set_content(ValueInfo& out, std::optional<std::vector<Expr>> content) {
  Interval exact;
  switch (out.dtype) {
    case DType::i64:
      exact = {INT64_MIN, INT64_MAX};
      break;
    case DType::i32:
      exact = {INT32_MIN, INT32_MAX};
      break;
    case DType::f64:
      exact = {-(int64_t{1} << 53), int64_t{1} << 53};
      break;
    case DType::f32:
      exact = {-(1 << 24), 1 << 24};
      break;
    case DType::boolean:
      exact = {0, 1};
      break;
    default:
      return;
  }
  // Expressions of symbols are extents or close to them, far from these limits.
  for (size_t i = 0; content && i < content->size(); ++i) {
    const Expr& e = (*content)[i];
    if (e.is_constant() && (e.constant() < exact.low || e.constant() > exact.high)) return;
  }
  out.content = std::move(content);
}

void infer_broadcast(InferContext& ctx, Combine combine) {
  require_same_type(ctx, 1);
  const ValueInfo &a = ctx.in(0), &b = ctx.in(1);
  ctx.out().dtype = a.dtype;
  ctx.out().shape = ctx.broadcast(a.shape, b.shape);
  if (combine) set_content(ctx.out(), combine_contents(a, b, combine, ctx.ranges));
}

std::optional<Expr> truncating_div(const Expr& a, const Expr& b, const Ranges& ranges) {
  if (b.is(0)) return {};
  // Rounding does not matter where nothing is rounded.
  Expr quotient;
  if (b.is_constant() && divides(b, a, &quotient)) return quotient;
  const Interval ab = a.bounds(ranges), bb = b.bounds(ranges);
  const int sign_a = ab.low >= 0    ? 1
                     : ab.high <= 0 ? -1
                                    : 0,
            sign_b = bb.low >= 0    ? 1
                     : bb.high <= 0 ? -1
                                    : 0;
  if (sign_a == 0 || sign_b == 0) return {};
  const Expr magnitude = floordiv(sign_a > 0 ? a : -a, sign_b > 0 ? b : -b);
  return sign_a == sign_b ? magnitude : -magnitude;
}

BroadcastRows::BroadcastRows(const Dims& out, const std::vector<Dims>& inputs)
    : strides_(inputs.size()), at_(inputs.size(), 0) {
  const size_t n = inputs.size();
  std::vector<Dims> full(n, Dims(out.size(), 0));
  for (size_t k = 0; k < n; ++k) {
    const Dims dense = row_major(inputs[k]);
    const size_t skip = out.size() - inputs[k].size();
    for (size_t d = 0; d < dense.size(); ++d)
      if (inputs[k][d] != 1) full[k][skip + d] = dense[d];
  }
  for (size_t d = 0; d < out.size(); ++d) {
    if (out[d] == 1) continue;
    bool merge = !extents_.empty();
    for (size_t k = 0; k < n; ++k) merge = merge && strides_[k].back() == full[k][d] * out[d];
    if (merge) {
      extents_.back() *= out[d];
    } else {
      extents_.push_back(out[d]);
    }
    for (size_t k = 0; k < n; ++k) {
      if (merge)
        strides_[k].back() = full[k][d];
      else
        strides_[k].push_back(full[k][d]);
    }
  }
  if (extents_.empty()) {
    extents_ = {1};
    for (Dims& s : strides_) s = {0};
  }
  index_.assign(extents_.size() - 1, 0);
  left_ = element_count(out);
  if (left_ > 0) left_ /= length();
}
void BroadcastRows::next() {
  --left_;
  for (size_t d = index_.size(); d-- > 0;) {
    for (size_t k = 0; k < at_.size(); ++k) at_[k] += strides_[k][d];
    if (++index_[d] < extents_[d]) return;
    for (size_t k = 0; k < at_.size(); ++k) at_[k] -= strides_[k][d] * extents_[d];
    index_[d] = 0;
  }
}

OpDef unary_op(const char* name, int version, void (*reference)(RunContext&),
               std::vector<Sample> (*samples)(), Traits traits, std::vector<AttrSpec> attrs,
               void (*infer)(InferContext&)) {
  return {.name = name,
          .domain = "",
          .version = version,
          .attrs = std::move(attrs),
          .min_inputs = 1,
          .max_inputs = 1,
          .min_outputs = 1,
          .max_outputs = 1,
          .traits = traits,
          .infer = infer,
          .reference = reference,
          .samples = samples};
}
OpDef binary_op(const char* name, int version, void (*infer)(InferContext&),
                void (*reference)(RunContext&), std::vector<Sample> (*samples)(), Traits traits,
                std::vector<AttrSpec> attrs) {
  return {.name = name,
          .domain = "",
          .version = version,
          .attrs = std::move(attrs),
          .min_inputs = 2,
          .max_inputs = 2,
          .min_outputs = 1,
          .max_outputs = 1,
          .traits = traits,
          .infer = infer,
          .reference = reference,
          .samples = samples};
}

}  // namespace vitrail
