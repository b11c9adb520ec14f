// SPDX-License-Identifier: Apache-2.0
// ONNX GroupNormalization and InstanceNormalization: each image's channels in groups, normalized
// over a group's channels and all positions, then scaled and shifted per channel. Also
// LpNormalization and MeanVarianceNormalization. Statistics in float64.
#include <algorithm>
#include <cmath>
#include <utility>

#include "ops/axes.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void infer_channels(InferContext& ctx) {
  infer_float(ctx);
  const ValueInfo& x = ctx.in(0);
  require(x.rank() >= 2, Code::bad_input, "input 0 has shape {}, extents [N,C,...] are needed",
          to_string(x.shape));
  for (size_t i = 1; i <= 2; ++i) {
    require_same_type(ctx, i);
    require_vector(ctx, i, x.shape[1], i == 1 ? "scale" : "bias");
  }
}
void infer_group(InferContext& ctx) {
  infer_channels(ctx);
  const int64_t groups = ctx.attrs.integer("num_groups");
  require(groups > 0, Code::bad_input, "attribute 'num_groups' is {}, a positive number is needed",
          groups);
  const Expr& channels = ctx.in(0).shape[1];
  require(!channels.is_constant() || channels.constant() % groups == 0, Code::bad_input,
          "{} channels do not divide into {} groups", channels.str(), groups);
}

void normalize_groups(RunContext& ctx, const char* op, int64_t groups) {
  const Tensor& x = ctx.in(0);
  const AxisSplit split = split_at(x.dims(), 1);
  const double epsilon = ctx.attrs.number("epsilon", 1e-5f);
  require(groups > 0 && split.extent % groups == 0, Code::bad_input, "{}: {} channels in {} groups",
          op, split.extent, groups);
  const int64_t size = split.extent / groups * split.inner;
  with_float_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    T* to = ctx.out().mutable_data<T>();
    const T *from = x.data<T>(), *scale = ctx.in(1).data<T>(), *bias = ctx.in(2).data<T>();
    for (int64_t g = 0; g < split.outer * groups; ++g, from += size) {
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < size; ++i) sum += from[i];
      const double mean = sum / static_cast<double>(size);
      for (int64_t i = 0; i < size; ++i) squares += (from[i] - mean) * (from[i] - mean);
      const double factor = 1 / std::sqrt(squares / static_cast<double>(size) + epsilon);
      for (int64_t i = 0; i < size; ++i) {
        const int64_t channel = g % groups * (split.extent / groups) + i / split.inner;
        *to++ = static_cast<T>((from[i] - mean) * factor * scale[channel] + bias[channel]);
      }
    }
  });
}
void group_norm(RunContext& ctx) {
  normalize_groups(ctx, "GroupNormalization", ctx.attrs.integer("num_groups"));
}
void instance_norm(RunContext& ctx) {
  // No channels: nothing to normalize, in one group.
  normalize_groups(ctx, "InstanceNormalization", std::max<int64_t>(ctx.in(0).dims().at(1), 1));
}

// ---------------------------------------------------------------- LpNormalization
void infer_lp(InferContext& ctx) {
  infer_float(ctx);
  normalize_axis(ctx.attrs.integer("axis", -1), ctx.in(0).rank(), "axis");
  const int64_t p = ctx.attrs.integer("p", 2);
  require(p == 1 || p == 2, Code::bad_input, "attribute 'p' is {}, expected 1 or 2", p);
}
void lp_norm(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  const AxisSplit split =
      split_at(x.dims(), normalize_axis(ctx.attrs.integer("axis", -1), x.rank(), "axis"));
  const bool root = ctx.attrs.integer("p", 2) == 2;
  with_float_type(x.dtype(), "LpNormalization", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    for (int64_t o = 0; o < split.outer; ++o)
      for (int64_t i = 0; i < split.inner; ++i) {
        const int64_t first = o * split.extent * split.inner + i;
        const T* from = x.data<T>() + first;
        T* to = ctx.out().template mutable_data<T>() + first;
        double norm = 0;
        for (int64_t a = 0; a < split.extent; ++a) {
          const double value = from[a * split.inner];
          norm += root ? value * value : std::fabs(value);
        }
        if (root) norm = std::sqrt(norm);
        // A vector of zeros stays one.
        for (int64_t a = 0; a < split.extent; ++a)
          to[a * split.inner] = norm == 0 ? T{0} : static_cast<T>(from[a * split.inner] / norm);
      }
  });
}

// ---------------------------------------------------------------- MeanVarianceNormalization
std::vector<bool> moment_axes(const Attrs& attrs, size_t rank) {
  return axis_mask(attrs.integers("axes", std::vector<int64_t>{0, 2, 3}), rank, "axis");
}
void infer_moments(InferContext& ctx) {
  infer_float(ctx);
  moment_axes(ctx.attrs, ctx.in(0).rank());
}
void mean_variance(RunContext& ctx) {
  const Tensor& x = ctx.in(0);
  const std::vector<bool> mask = moment_axes(ctx.attrs, x.rank());
  Dims kept = x.dims();
  double count = 1;
  for (size_t d = 0; d < kept.size(); ++d)
    if (mask[d]) count *= static_cast<double>(std::exchange(kept[d], 1));
  const auto size = static_cast<size_t>(element_count(kept));
  std::vector<double> mean(size, 0), variance(size, 0);
  const auto visit = [&](auto action) {
    int64_t element = 0;
    for (BroadcastRows row(x.dims(), {kept}); !row.done(); row.next())
      for (int64_t i = 0; i < row.length(); ++i)
        action(element++, static_cast<size_t>(row.at(0) + i * row.step(0)));
  };
  with_float_type(x.dtype(), "MeanVarianceNormalization", [&](auto tag) {
    using T = decltype(tag);
    const T* from = x.data<T>();
    visit([&](int64_t e, size_t k) { mean[k] += from[e] / count; });
    visit([&](int64_t e, size_t k) {
      variance[k] += (from[e] - mean[k]) * (from[e] - mean[k]) / count;
    });
    ctx.out() = Tensor(x.dtype(), x.dims());
    T* to = ctx.out().mutable_data<T>();
    constexpr double kEpsilon = 1e-9;  // of ONNX's function body
    visit([&](int64_t e, size_t k) {
      to[e] = static_cast<T>((from[e] - mean[k]) / (std::sqrt(variance[k]) + kEpsilon));
    });
  });
}

// ---------------------------------------------------------------- samples
std::vector<Sample> group_samples() {
  return {{.inputs = {{.dims = {2, 6, 3, 5}}, {.dims = {6}}, {.dims = {6}}},
           .attrs = {{"num_groups", int64_t{2}}}},
          {.inputs = {{.dims = {2, 6, 7}}, {.dims = {6}}, {.dims = {6}}},
           .attrs = {{"num_groups", int64_t{3}}, {"epsilon", 0.125}, {"stash_type", int64_t{1}}}}};
}
std::vector<Sample> instance_samples() {
  return {{.inputs = {{.dims = {2, 3, 4, 5}}, {.dims = {3}}, {.dims = {3}}}},
          {.inputs = {{.dims = {2, 3, 7}}, {.dims = {3}}, {.dims = {3}}},
           .attrs = {{"epsilon", 0.125}}}};
}
std::vector<Sample> lp_samples() {
  return {{.inputs = {{.dims = {3, 4, 5}}}},
          {.inputs = {{.dims = {3, 4, 5}}}, .attrs = {{"axis", int64_t{1}}, {"p", int64_t{1}}}}};
}
std::vector<Sample> moment_samples() {
  return {{.inputs = {{.dims = {2, 3, 4, 5}}}},
          {.inputs = {{.dims = {3, 4, 5}}}, .attrs = {{"axes", std::vector<int64_t>{-1}}}}};
}
}  // namespace
extern const OpDef group_normalization_op{.name = "GroupNormalization",
                                          .domain = "",
                                          .version = 21,
                                          .attrs = {{"num_groups", AttrKind::integer, true},
                                                    {"epsilon", AttrKind::number},
                                                    {"stash_type", AttrKind::integer}},
                                          .min_inputs = 3,
                                          .max_inputs = 3,
                                          .min_outputs = 1,
                                          .max_outputs = 1,
                                          .traits = {.reduction = true},
                                          .infer = infer_group,
                                          .reference = group_norm,
                                          .samples = group_samples};
extern const OpDef instance_normalization_op{.name = "InstanceNormalization",
                                             .domain = "",
                                             .version = 6,
                                             .attrs = {{"epsilon", AttrKind::number}},
                                             .min_inputs = 3,
                                             .max_inputs = 3,
                                             .min_outputs = 1,
                                             .max_outputs = 1,
                                             .traits = {.reduction = true},
                                             .infer = infer_channels,
                                             .reference = instance_norm,
                                             .samples = instance_samples};
extern const OpDef lp_normalization_op =
    unary_op("LpNormalization", 1, lp_norm, lp_samples, {.reduction = true},
             {{"axis", AttrKind::integer}, {"p", AttrKind::integer}}, infer_lp);
extern const OpDef mean_variance_normalization_op =
    unary_op("MeanVarianceNormalization", 9, mean_variance, moment_samples, {.reduction = true},
             {{"axes", AttrKind::integers}}, infer_moments);
}  // namespace vitrail
