// SPDX-License-Identifier: Apache-2.0
// ONNX's reductions: axes are an optional input; without axes all are reduced, or none with
// noop_with_empty_axes = 1. Floats accumulate in float64, integers in 64 bits.
#include <cmath>
#include <limits>

#include "ops/axes.h"
#include "ops/elementwise.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
std::vector<bool> reduced(const std::optional<std::vector<int64_t>>& axes, const Attrs& attrs,
                          size_t rank) {
  if (axes && !axes->empty()) return axis_mask(*axes, rank, "axis");
  return std::vector<bool>(rank, attrs.integer("noop_with_empty_axes", 0) == 0);
}

// ---------------------------------------------------------------- shape rules
using Fold = Expr (*)(const Expr&, const Expr&);
void infer_reduce(InferContext& ctx, Fold fold) {
  const ValueInfo& x = ctx.in(0);
  require(x.dtype != DType::string, Code::bad_input, "input 0 holds strings");
  std::optional<std::vector<int64_t>> axes;
  if (ctx.has(1)) axes = constant_list_of(ctx, 1, "axes");
  const std::vector<bool> mask = reduced(axes, ctx.attrs, x.rank());
  const bool keep = ctx.attrs.integer("keepdims", 1) != 0;
  ctx.out().dtype = x.dtype;
  for (size_t d = 0; d < mask.size(); ++d) {
    if (!mask[d])
      ctx.out().shape.push_back(x.shape[d]);
    else if (keep)
      ctx.out().shape.emplace_back(1);
  }
  const auto content = x.ints();
  if (!fold || !content || content->empty() || x.rank() != 1 || !mask[0]) return;
  Expr total = (*content)[0];
  try {
    for (size_t i = 1; i < content->size(); ++i) total = fold(total, (*content)[i]);
  } catch (const Error&) {
    return;  // leaves int64: no content
  }
  set_content(ctx.out(), std::vector<Expr>{total});
}
void infer(InferContext& ctx) {
  require_numeric(ctx);
  infer_reduce(ctx, nullptr);
}
void infer_sum(InferContext& ctx) {
  require_numeric(ctx);
  infer_reduce(ctx, [](const Expr& a, const Expr& b) { return a + b; });
}
void infer_prod(InferContext& ctx) {
  require_numeric(ctx);
  infer_reduce(ctx, [](const Expr& a, const Expr& b) { return a * b; });
}
// Booleans are ordered too: Max is "any", Min is "all".
void infer_max(InferContext& ctx) {
  infer_reduce(ctx, [](const Expr& a, const Expr& b) { return max(a, b); });
}
void infer_min(InferContext& ctx) {
  infer_reduce(ctx, [](const Expr& a, const Expr& b) { return min(a, b); });
}

// ---------------------------------------------------------------- references
struct Plan {
  Dims kept;          // extents of x with 1 for each reduced axis
  Dims out;           // extents of the result
  int64_t count = 1;  // elements reduced to one
};
Plan plan_of(const RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  std::optional<std::vector<int64_t>> axes;
  if (ctx.has(1)) axes = ctx.in(1).to_ints("axes");
  const std::vector<bool> mask = reduced(axes, ctx.attrs, x.rank());
  const bool keep = ctx.attrs.integer("keepdims", 1) != 0;
  Plan plan;
  for (size_t d = 0; d < mask.size(); ++d) {
    plan.kept.push_back(mask[d] ? 1 : x.dims()[d]);
    if (mask[d]) plan.count *= x.dims()[d];
    if (!mask[d] || keep) plan.out.push_back(plan.kept.back());
  }
  return plan;
}

// Integers wrap in unsigned 64 bits; floats accumulate in double.
template <typename T>
using Accumulator = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

// Visits each element of x with the place of its result: step(accumulators[i], element).
template <typename T, typename Acc, typename Step>
void visit(const Tensor& x, const Plan& plan, std::vector<Acc>& into, Step step) {
  const T* from = x.data<T>();
  for (BroadcastRows row(x.dims(), {plan.kept}); !row.done(); row.next()) {
    Acc* acc = into.data() + row.at(0);
    const int64_t stride = row.step(0);
    for (int64_t i = 0; i < row.length(); ++i) step(acc[i * stride], *from++);
  }
}

template <typename T, typename R>
T element_of(R result) {
  if constexpr (std::is_same_v<R, double>)
    return to_element<T>(result);
  else
    return static_cast<T>(result);  // wraps
}

// result = finish(fold over x of step, starting from `start`).
template <typename Step, typename Finish>
void reduce(RunContext& ctx, const char* op, int start, Step step, Finish finish) {
  const Tensor& x = ctx.in(0);
  const Plan plan = plan_of(ctx);
  with_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    using Acc = Accumulator<T>;
    std::vector<Acc> sums(static_cast<size_t>(element_count(plan.kept)), static_cast<Acc>(start));
    visit<T>(x, plan, sums, [&](Acc& acc, T value) { step(acc, static_cast<Acc>(value)); });
    ctx.out() = Tensor(x.dtype(), plan.out);
    T* to = ctx.out().mutable_data<T>();
    for (size_t i = 0; i < sums.size(); ++i)
      to[i] = element_of<T>(finish(sums[i], tag, plan.count));
  });
}
constexpr auto kAsIs = [](auto sum, auto, int64_t) { return sum; };
// The value of an accumulator with the sign that the element type has.
template <typename T, typename Acc>
double signed_value(Acc sum, T) {
  if constexpr (std::is_signed_v<T> && std::is_integral_v<T>)
    return static_cast<double>(static_cast<int64_t>(sum));
  else
    return static_cast<double>(sum);
}
constexpr auto kAdd = [](auto& acc, auto value) { acc += value; };
constexpr auto kAddSquare = [](auto& acc, auto value) { acc += value * value; };

void reduce_sum(RunContext& ctx) { reduce(ctx, "ReduceSum", 0, kAdd, kAsIs); }
void reduce_prod(RunContext& ctx) {
  reduce(
      ctx, "ReduceProd", 1, [](auto& acc, auto value) { acc *= value; }, kAsIs);
}
void reduce_sum_square(RunContext& ctx) { reduce(ctx, "ReduceSumSquare", 0, kAddSquare, kAsIs); }
void reduce_mean(RunContext& ctx) {
  reduce(ctx, "ReduceMean", 0, kAdd, [](auto sum, auto tag, int64_t count) {
    using T = decltype(tag);
    if constexpr (std::is_floating_point_v<T>) {
      return sum / static_cast<double>(count);
    } else {
      require(count > 0, Code::bad_input, "ReduceMean: the mean of no integers");
      if constexpr (std::is_signed_v<T>)
        return static_cast<int64_t>(sum) / count;
      else
        return sum / static_cast<uint64_t>(count);
    }
  });
}
void reduce_l1(RunContext& ctx) {
  reduce(
      ctx, "ReduceL1", 0,
      [](auto& acc, auto value) {
        if constexpr (std::is_same_v<decltype(value), double>)
          acc += std::fabs(value);
        else
          acc += static_cast<int64_t>(value) < 0 ? 0 - value : value;
      },
      kAsIs);
}
// Roots and logarithms of integers round towards zero.
void reduce_l2(RunContext& ctx) {
  reduce(ctx, "ReduceL2", 0, kAddSquare,
         [](auto sum, auto tag, int64_t) { return std::sqrt(signed_value(sum, tag)); });
}
void reduce_log_sum(RunContext& ctx) {
  reduce(ctx, "ReduceLogSum", 0, kAdd,
         [](auto sum, auto tag, int64_t) { return std::log(signed_value(sum, tag)); });
}

// Max or Min of every element type, `worst` first. NaN wins, as in numpy.
template <typename Better>
void extreme(RunContext& ctx, const char* op, bool largest, Better better) {
  const Tensor& x = ctx.in(0);
  const Plan plan = plan_of(ctx);
  with_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    using Limits = std::numeric_limits<T>;
    T worst = largest ? Limits::lowest() : Limits::max();
    if constexpr (Limits::has_infinity) worst = largest ? -Limits::infinity() : Limits::infinity();
    // std::vector<bool> has no addresses: accumulate in a type that holds T.
    using Slot = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;
    std::vector<Slot> best(static_cast<size_t>(element_count(plan.kept)), static_cast<Slot>(worst));
    visit<T>(x, plan, best, [&](Slot& acc, T value) {
      if (better(static_cast<T>(acc), value) || value != value) acc = static_cast<Slot>(value);
    });
    ctx.out() = Tensor(x.dtype(), plan.out);
    T* to = ctx.out().mutable_data<T>();
    for (size_t i = 0; i < best.size(); ++i) to[i] = static_cast<T>(best[i]);
  });
}
void reduce_max(RunContext& ctx) {
  extreme(ctx, "ReduceMax", true, [](auto best, auto value) { return value > best; });
}
void reduce_min(RunContext& ctx) {
  extreme(ctx, "ReduceMin", false, [](auto best, auto value) { return value < best; });
}

// log(sum(exp(x))) about the largest x, so that exp does not overflow.
void reduce_log_sum_exp(RunContext& ctx) {
  const Tensor x = ctx.in(0).cast(DType::f64);
  const Plan plan = plan_of(ctx);
  const auto size = static_cast<size_t>(element_count(plan.kept));
  struct Slot {
    double largest = -INFINITY, sum = 0;
  };
  std::vector<Slot> slots(size);
  visit<double>(x, plan, slots, [](Slot& slot, double value) {
    if (value > slot.largest || std::isnan(value)) slot.largest = value;
  });
  visit<double>(x, plan, slots, [](Slot& slot, double value) {
    // Infinite sums are exact without a shift, and inf - inf is not.
    slot.sum += std::exp(std::isinf(slot.largest) ? value : value - slot.largest);
  });
  Tensor out(DType::f64, plan.out);
  for (size_t i = 0; i < size; ++i)
    out.mutable_data<double>()[i] =
        std::log(slots[i].sum) + (std::isinf(slots[i].largest) ? 0 : slots[i].largest);
  ctx.out() = out.cast(ctx.in(0).dtype());
}

// ---------------------------------------------------------------- samples and definitions
std::vector<Sample> samples_in(double low, double high) {
  const SampleInput x{.dims = {3, 4, 5}, .low = low, .high = high};
  const auto axes = [](const std::vector<int64_t>& list) {
    return SampleInput{.dtype = DType::i64,
                       .fixed = Tensor::of<int64_t>({static_cast<int64_t>(list.size())}, list)};
  };
  return {{.inputs = {x}},
          {.inputs = {x, axes({1})}},
          {.inputs = {x, axes({-1, 0})}, .attrs = {{"keepdims", int64_t{0}}}},
          {.inputs = {x, axes({})}, .attrs = {{"noop_with_empty_axes", int64_t{1}}}}};
}
std::vector<Sample> float_samples() { return samples_in(0.1, 2); }
std::vector<Sample> samples() {
  auto cases = samples_in(-1, 1);
  cases.push_back({.inputs = {{.dtype = DType::i64, .dims = {5}, .low = -9, .high = 9}},
                   .attrs = {{"keepdims", int64_t{0}}}});
  return cases;
}
OpDef reduction(const char* name, int version, void (*shape)(InferContext&),
                void (*reference)(RunContext&), std::vector<Sample> (*cases)() = samples) {
  return {.name = name,
          .domain = "",
          .version = version,
          .attrs = {{"keepdims", AttrKind::integer}, {"noop_with_empty_axes", AttrKind::integer}},
          .min_inputs = 1,
          .max_inputs = 2,
          .min_outputs = 1,
          .max_outputs = 1,
          .traits = {.reduction = true},
          .infer = shape,
          .reference = reference,
          .samples = cases};
}
}  // namespace
extern const OpDef reduce_l1_op = reduction("ReduceL1", 18, infer, reduce_l1);
extern const OpDef reduce_l2_op = reduction("ReduceL2", 18, infer, reduce_l2);
extern const OpDef reduce_log_sum_op =
    reduction("ReduceLogSum", 18, infer, reduce_log_sum, float_samples);
extern const OpDef reduce_log_sum_exp_op =
    reduction("ReduceLogSumExp", 18, infer, reduce_log_sum_exp);
extern const OpDef reduce_max_op = reduction("ReduceMax", 18, infer_max, reduce_max);
extern const OpDef reduce_mean_op = reduction("ReduceMean", 18, infer, reduce_mean);
extern const OpDef reduce_min_op = reduction("ReduceMin", 18, infer_min, reduce_min);
extern const OpDef reduce_prod_op = reduction("ReduceProd", 18, infer_prod, reduce_prod);
extern const OpDef reduce_sum_op = reduction("ReduceSum", 13, infer_sum, reduce_sum);
extern const OpDef reduce_sum_square_op =
    reduction("ReduceSumSquare", 18, infer, reduce_sum_square);
}  // namespace vitrail
