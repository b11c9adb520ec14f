// SPDX-License-Identifier: Apache-2.0
// ONNX's activations. Computed in float64, rounded once.
#include <cmath>

#include "ops/elementwise.h"

namespace vitrail {
namespace {
// log(1 + e^x) without overflow for large x and without losing e^x for small ones.
double softplus_of(double x) { return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x))); }

void relu(RunContext& ctx) {
  map_any(ctx, "Relu", [](auto x) { return x < decltype(x){0} ? decltype(x){0} : x; });
}
void sigmoid(RunContext& ctx) {
  map_float(ctx, "Sigmoid", [](auto x) { return evaluate(Pointwise::sigmoid, x, 0, 0); });
}
void softplus(RunContext& ctx) {
  map_float(ctx, "Softplus", [](auto x) { return softplus_of(x); });
}
void mish(RunContext& ctx) {
  map_float(ctx, "Mish", [](double x) { return x * std::tanh(softplus_of(x)); });
}
void leaky_relu(RunContext& ctx) {
  const double alpha = ctx.attrs.number("alpha", 0.01f);
  map_float(ctx, "LeakyRelu", [&](auto x) { return evaluate(Pointwise::leaky_relu, x, 0, alpha); });
}
void elu(RunContext& ctx) {
  const double alpha = ctx.attrs.number("alpha", 1);
  map_float(ctx, "Elu", [&](double x) { return x < 0 ? alpha * std::expm1(x) : x; });
}
void celu(RunContext& ctx) {
  const double alpha = ctx.attrs.number("alpha", 1);
  map_float(ctx, "Celu", [&](double x) {
    return std::fmax(0, x) + std::fmin(0, alpha * std::expm1(x / alpha));
  });
}
void thresholded_relu(RunContext& ctx) {
  const double alpha = ctx.attrs.number("alpha", 1);
  map_float(ctx, "ThresholdedRelu", [&](double x) { return x > alpha ? x : 0; });
}
void softsign(RunContext& ctx) {
  map_float(ctx, "Softsign", [](double x) { return x / (1 + std::fabs(x)); });
}
void shrink(RunContext& ctx) {
  const double bias = ctx.attrs.number("bias", 0), lambd = ctx.attrs.number("lambd", 0.5);
  map_any(ctx, "Shrink", [&](auto v) {
    const auto x = static_cast<double>(v);
    return to_element<decltype(v)>(x < -lambd ? x + bias : x > lambd ? x - bias : 0);
  });
}
void selu(RunContext& ctx) {
  const double alpha = ctx.attrs.number("alpha", 1.67326319217681884765625);
  const double gamma = ctx.attrs.number("gamma", 1.05070102214813232421875);
  map_float(ctx, "Selu", [&](double x) { return gamma * (x > 0 ? x : alpha * std::expm1(x)); });
}
void hard_sigmoid(RunContext& ctx) {
  const double alpha = ctx.attrs.number("alpha", 0.2f), beta = ctx.attrs.number("beta", 0.5);
  map_float(ctx, "HardSigmoid",
            [&](double x) { return std::fmax(0, std::fmin(1, alpha * x + beta)); });
}
void hard_swish(RunContext& ctx) {
  map_float(ctx, "HardSwish", [](double x) { return x * std::fmax(0, std::fmin(1, x / 6 + 0.5)); });
}
void swish(RunContext& ctx) {
  const double alpha = ctx.attrs.number("alpha", 1);
  map_float(ctx, "Swish", [&](auto x) { return evaluate(Pointwise::swish, x, 0, alpha); });
}
void gelu(RunContext& ctx) {
  const bool tanh = ctx.attrs.text("approximate", "none") == "tanh";
  map_float(ctx, "Gelu", [&](auto x) {
    return evaluate(tanh ? Pointwise::gelu_tanh : Pointwise::gelu, x, 0, 0);
  });
}
void prelu(RunContext& ctx) {
  map_broadcast(ctx, "PRelu", [](auto x, auto slope) {
    return x < decltype(x){0} ? wrapping(x, slope, [](auto a, auto b) { return a * b; }) : x;
  });
}

void infer_gelu(InferContext& ctx) {
  const std::string kind = ctx.attrs.text("approximate", "none");
  require(kind == "none" || kind == "tanh", Code::bad_input,
          "attribute 'approximate' is '{}', expected none or tanh", printable(kind));
  infer_float(ctx);
}
// The slope broadcasts to x, never the other way.
void infer_prelu(InferContext& ctx) {
  require_numeric(ctx);
  require_same_type(ctx, 1);
  const ValueInfo &x = ctx.in(0), &slope = ctx.in(1);
  require(slope.rank() <= x.rank(), Code::bad_input, "slope {} has more extents than x {}",
          to_string(slope.shape), to_string(x.shape));
  for (size_t i = 0; i < slope.rank(); ++i) {
    const Expr &have = slope.shape[i], &want = x.shape[x.rank() - slope.rank() + i];
    require(!(want.is(1) && have.is_constant() && !have.is(1)), Code::bad_input,
            "slope {} does not broadcast to x {}", to_string(slope.shape), to_string(x.shape));
  }
  ctx.broadcast(x.shape, slope.shape);
  infer_same(ctx);
}

std::vector<Sample> samples() {
  return {{.inputs = {{.dims = {3, 17}, .low = -4, .high = 4}}},
          {.inputs = {{.dims = {}, .low = -60, .high = 60}}}};
}
std::vector<Sample> relu_samples() {
  return {{.inputs = {{.dims = {3, 17}}}},
          {.inputs = {{.dtype = DType::i32, .dims = {9}, .low = -5, .high = 5}}}};
}
std::vector<Sample> alpha_samples() {
  auto cases = samples();
  cases.push_back(
      {.inputs = {{.dims = {3, 17}, .low = -4, .high = 4}}, .attrs = {{"alpha", 0.375}}});
  return cases;
}
std::vector<Sample> selu_samples() {
  auto cases = samples();
  cases.push_back({.inputs = {{.dims = {3, 17}, .low = -4, .high = 4}},
                   .attrs = {{"alpha", 2.0}, {"gamma", 3.0}}});
  return cases;
}
std::vector<Sample> hard_samples() {
  auto cases = samples();
  cases.push_back({.inputs = {{.dims = {3, 17}, .low = -4, .high = 4}},
                   .attrs = {{"alpha", 0.5}, {"beta", 0.25}}});
  return cases;
}
std::vector<Sample> shrink_samples() {
  auto cases = samples();
  cases.push_back({.inputs = {{.dims = {3, 17}, .low = -4, .high = 4}},
                   .attrs = {{"bias", 0.5}, {"lambd", 1.0}}});
  return cases;
}
std::vector<Sample> gelu_samples() {
  auto cases = samples();
  cases.push_back({.inputs = {{.dims = {3, 17}, .low = -4, .high = 4}},
                   .attrs = {{"approximate", std::string("tanh")}}});
  return cases;
}
std::vector<Sample> prelu_samples() {
  return {{.inputs = {{.dims = {2, 3, 5}}, {.dims = {2, 3, 5}}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {3, 1}}}}};
}
const std::vector<AttrSpec> kAlpha = {{"alpha", AttrKind::number}};
constexpr Traits kElementwise{.elementwise = true};
}  // namespace
extern const OpDef celu_op = unary_op("Celu", 12, celu, alpha_samples, kElementwise, kAlpha);
extern const OpDef elu_op = unary_op("Elu", 6, elu, alpha_samples, kElementwise, kAlpha);
extern const OpDef gelu_op = unary_op("Gelu", 20, gelu, gelu_samples, kElementwise,
                                      {{"approximate", AttrKind::text}}, infer_gelu);
extern const OpDef hard_sigmoid_op =
    unary_op("HardSigmoid", 6, hard_sigmoid, hard_samples, kElementwise,
             {{"alpha", AttrKind::number}, {"beta", AttrKind::number}});
extern const OpDef hard_swish_op = unary_op("HardSwish", 14, hard_swish, samples);
extern const OpDef leaky_relu_op =
    unary_op("LeakyRelu", 6, leaky_relu, alpha_samples,
             {.elementwise = true, .pointwise = Pointwise::leaky_relu}, kAlpha);
extern const OpDef mish_op = unary_op("Mish", 18, mish, samples);
extern const OpDef prelu_op = binary_op("PRelu", 7, infer_prelu, prelu, prelu_samples);
extern const OpDef relu_op =
    unary_op("Relu", 6, relu, relu_samples, {.elementwise = true, .pointwise = Pointwise::relu}, {},
             infer_numeric);
extern const OpDef selu_op = unary_op("Selu", 6, selu, selu_samples, kElementwise,
                                      {{"alpha", AttrKind::number}, {"gamma", AttrKind::number}});
extern const OpDef shrink_op =
    unary_op("Shrink", 9, shrink, shrink_samples, {.elementwise = true, .discontinuous = true},
             {{"bias", AttrKind::number}, {"lambd", AttrKind::number}}, infer_numeric);
extern const OpDef sigmoid_op = unary_op("Sigmoid", 6, sigmoid, samples,
                                         {.elementwise = true, .pointwise = Pointwise::sigmoid});
extern const OpDef softplus_op = unary_op("Softplus", 1, softplus, samples);
extern const OpDef softsign_op = unary_op("Softsign", 1, softsign, samples);
extern const OpDef swish_op =
    unary_op("Swish", 24, swish, alpha_samples,
             {.elementwise = true, .pointwise = Pointwise::swish}, kAlpha);
extern const OpDef thresholded_relu_op =
    unary_op("ThresholdedRelu", 10, thresholded_relu, alpha_samples,
             {.elementwise = true, .discontinuous = true}, kAlpha);
}  // namespace vitrail
