// SPDX-License-Identifier: Apache-2.0
// ONNX LayerNormalization and RMSNormalization over the axes from `axis` on. Statistics in float64.
#include <cmath>

#include "ops/axes.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
// Scale and bias broadcast to x, never the other way.
void require_broadcasts(InferContext& ctx, size_t i) {
  const Shape &x = ctx.in(0).shape, &part = ctx.in(i).shape;
  require_same_type(ctx, i);
  const Shape both = ctx.broadcast(x, part);
  bool same = both.size() == x.size();
  for (size_t d = 0; same && d < x.size(); ++d)
    same = both[d] == x[d] || !both[d].is_constant() || !x[d].is_constant();
  require(same, Code::bad_input, "input {} of shape {} does not broadcast to {}", i,
          to_string(part), to_string(x));
}
void infer(InferContext& ctx) {
  infer_float(ctx);
  const ValueInfo& x = ctx.in(0);
  const int64_t axis = normalize_axis(ctx.attrs.integer("axis", -1), x.rank(), "axis");
  for (size_t i = 1; i < ctx.inputs.size(); ++i)
    if (ctx.has(i)) require_broadcasts(ctx, i);
  for (size_t i = 1; i < ctx.outputs.size(); ++i) {
    ctx.out(i).dtype = dtype_of_onnx_number(ctx.attrs.integer("stash_type", 1));
    ctx.out(i).shape = x.shape;
    for (size_t d = static_cast<size_t>(axis); d < x.rank(); ++d) ctx.out(i).shape[d] = 1;
  }
}

struct Statistics {
  double mean = 0, scale = 1;  // y = (x - mean) * scale
};
// statistics(first, n) of each row of n elements, then y = normalized * in(1) + in(2).
template <typename F>
std::vector<Statistics> normalize(RunContext& ctx, const char* op, F statistics) {
  const Tensor& x = ctx.in(0);
  const int64_t axis = normalize_axis(ctx.attrs.integer("axis", -1), x.rank(), "axis");
  int64_t length = 1;
  for (size_t d = static_cast<size_t>(axis); d < x.rank(); ++d) length *= x.dims()[d];
  std::vector<Statistics> rows;
  with_float_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    const T* from = x.data<T>();
    const int64_t count = length == 0 ? 0 : x.size() / length;
    for (int64_t r = 0; r < count; ++r) rows.push_back(statistics(from + r * length, length));
    ctx.out() = Tensor(x.dtype(), x.dims());
    T* to = ctx.out().mutable_data<T>();
    const Tensor one = Tensor::scalar<T>(1), zero = Tensor::scalar<T>(0);
    const Tensor &scale = ctx.has(1) ? ctx.in(1) : one, &bias = ctx.has(2) ? ctx.in(2) : zero;
    const T *scales = scale.data<T>(), *biases = bias.data<T>();
    int64_t element = 0;
    for (BroadcastRows row(x.dims(), {scale.dims(), bias.dims()}); !row.done(); row.next())
      for (int64_t i = 0; i < row.length(); ++i, ++element) {
        const Statistics& s = rows[static_cast<size_t>(element / length)];
        to[element] = static_cast<T>((from[element] - s.mean) * s.scale *
                                         scales[row.at(0) + i * row.step(0)] +
                                     biases[row.at(1) + i * row.step(1)]);
      }
  });
  return rows;
}

void layer_norm(RunContext& ctx) {
  const double epsilon = ctx.attrs.number("epsilon", 1e-5f);
  const auto rows = normalize(ctx, "LayerNormalization", [&](const auto* x, int64_t n) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) sum += x[i];
    const double mean = sum / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
    return Statistics{mean, 1 / std::sqrt(squares / static_cast<double>(n) + epsilon)};
  });
  const Tensor& x = ctx.in(0);
  Dims dims = x.dims();
  for (auto d =
           static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis", -1), x.rank(), "axis"));
       d < dims.size(); ++d)
    dims[d] = 1;
  for (size_t o = 1; o < ctx.outputs.size(); ++o) {
    Tensor out(DType::f64, dims);
    for (size_t r = 0; r < rows.size(); ++r)
      out.mutable_data<double>()[r] = o == 1 ? rows[r].mean : rows[r].scale;
    ctx.out(o) = out.cast(x.dtype());
  }
}
void rms_norm(RunContext& ctx) {
  const double epsilon = ctx.attrs.number("epsilon", 1e-5f);
  normalize(ctx, "RMSNormalization", [&](const auto* x, int64_t n) {
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
    return Statistics{0, 1 / std::sqrt(squares / static_cast<double>(n) + epsilon)};
  });
}

std::vector<Sample> rms_samples() {
  return {{.inputs = {{.dims = {2, 3, 17}}, {.dims = {17}}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {3, 5}}},
           .attrs = {{"axis", int64_t{1}}, {"epsilon", 0.125}, {"stash_type", int64_t{1}}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {1}}}}};
}
std::vector<Sample> layer_samples() {
  auto cases = rms_samples();
  cases.push_back({.inputs = {{.dims = {2, 3, 5}}, {.dims = {3, 5}}, {.dims = {3, 5}}},
                   .attrs = {{"axis", int64_t{-2}}},
                   .outputs = 3});
  return cases;
}
const std::vector<AttrSpec> kAttrs = {
    {"axis", AttrKind::integer}, {"epsilon", AttrKind::number}, {"stash_type", AttrKind::integer}};
}  // namespace
extern const OpDef layer_normalization_op{.name = "LayerNormalization",
                                          .domain = "",
                                          .version = 17,
                                          .attrs = kAttrs,
                                          .min_inputs = 2,
                                          .max_inputs = 3,
                                          .min_outputs = 1,
                                          .max_outputs = 3,
                                          .traits = {.reduction = true},
                                          .infer = infer,
                                          .reference = layer_norm,
                                          .samples = layer_samples};
extern const OpDef rms_normalization_op{.name = "RMSNormalization",
                                        .domain = "",
                                        .version = 23,
                                        .attrs = kAttrs,
                                        .min_inputs = 2,
                                        .max_inputs = 2,
                                        .min_outputs = 1,
                                        .max_outputs = 1,
                                        .traits = {.reduction = true},
                                        .infer = infer,
                                        .reference = rms_norm,
                                        .samples = rms_samples};
}  // namespace vitrail
