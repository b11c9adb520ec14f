// SPDX-License-Identifier: Apache-2.0
// ONNX DepthToSpace-13 and SpaceToDepth-13: channels as blocks of pixels and back.
#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
int64_t block_of(const Attrs& attrs) {
  const int64_t block = attrs.integer("blocksize");
  constexpr int64_t kLargest = 1 << 20;
  require(1 <= block && block <= kLargest, Code::bad_input, "blocksize is {}, expected 1 to {}",
          block, kLargest);
  return block;
}
Expr exact(InferContext& ctx, const Expr& a, int64_t b, const char* what) {
  Expr quotient;
  if (divides(b, a, &quotient)) return quotient;
  require(!a.is_constant(), Code::bad_input, "{} {} is not a multiple of {}", what, a.str(), b);
  quotient = floordiv(a, b);
  ctx.equalities.push_back({quotient * Expr(b), a});
  return quotient;
}
const Shape& image_of(InferContext& ctx) {
  require(ctx.in(0).rank() == 4, Code::bad_input, "the input has shape {}, expected [N, C, H, W]",
          to_string(ctx.in(0).shape));
  ctx.out().dtype = ctx.in(0).dtype;
  return ctx.in(0).shape;
}
bool columns_first(const Attrs& attrs) {
  const std::string mode = attrs.text("mode", "DCR");
  require(mode == "DCR" || mode == "CRD", Code::bad_input, "mode '{}': expected DCR or CRD",
          printable(mode));
  return mode == "CRD";
}

void infer_to_space(InferContext& ctx) {
  const Shape& in = image_of(ctx);
  const int64_t b = block_of(ctx.attrs);
  columns_first(ctx.attrs);
  ctx.out().shape = {in[0], exact(ctx, in[1], b * b, "the number of channels"), in[2] * Expr(b),
                     in[3] * Expr(b)};
}
void to_space(RunContext& ctx) {
  const Dims out = dims_by_rule(ctx, infer_to_space);
  const int64_t b = block_of(ctx.attrs), n = out[0], c = out[1], h = ctx.in(0).dims()[2],
                w = ctx.in(0).dims()[3], plane = h * w;
  // out[n, c, h, by, w, bx] from [n, by, bx, c, h, w] (DCR) or [n, c, by, bx, h, w] (CRD)
  const bool crd = columns_first(ctx.attrs);
  const int64_t channel = crd ? b * b * plane : plane, by = crd ? b * plane : b * c * plane,
                bx = crd ? plane : c * plane;
  ctx.out() =
      strided_copy(ctx.in(0), {n, c, h, b, w, b}, 0, {c * b * b * plane, channel, w, by, 1, bx})
          .reshaped(out);
}
std::vector<Sample> to_space_samples() {
  return {
      {.inputs = {{.dims = {2, 12, 3, 5}}}, .attrs = {{"blocksize", int64_t{2}}}},
      {.inputs = {{.dims = {2, 12, 3, 5}}}, .attrs = {{"blocksize", int64_t{2}}, {"mode", "CRD"}}}};
}

void infer_to_depth(InferContext& ctx) {
  const Shape& in = image_of(ctx);
  const int64_t b = block_of(ctx.attrs);
  ctx.out().shape = {in[0], in[1] * Expr(b * b), exact(ctx, in[2], b, "the height"),
                     exact(ctx, in[3], b, "the width")};
}
void to_depth(RunContext& ctx) {
  const Dims out = dims_by_rule(ctx, infer_to_depth);
  const Dims& in = ctx.in(0).dims();
  const int64_t b = block_of(ctx.attrs), c = in[1], plane = in[2] * in[3];
  ctx.out() = strided_copy(ctx.in(0), {in[0], b, b, c, out[2], out[3]}, 0,
                           {c * plane, in[3], 1, plane, b * in[3], b})
                  .reshaped(out);
}
std::vector<Sample> to_depth_samples() {
  return {{.inputs = {{.dims = {2, 3, 4, 6}}}, .attrs = {{"blocksize", int64_t{2}}}}};
}
}  // namespace
extern const OpDef depth_to_space_op{
    .name = "DepthToSpace",
    .domain = "",
    .version = 13,
    .attrs = {{"blocksize", AttrKind::integer, true}, {"mode", AttrKind::text}},
    .min_inputs = 1,
    .max_inputs = 1,
    .min_outputs = 1,
    .max_outputs = 1,
    .traits = {.view = true},
    .infer = infer_to_space,
    .reference = to_space,
    .samples = to_space_samples};
extern const OpDef space_to_depth_op{.name = "SpaceToDepth",
                                     .domain = "",
                                     .version = 13,
                                     .attrs = {{"blocksize", AttrKind::integer, true}},
                                     .min_inputs = 1,
                                     .max_inputs = 1,
                                     .min_outputs = 1,
                                     .max_outputs = 1,
                                     .traits = {.view = true},
                                     .infer = infer_to_depth,
                                     .reference = to_depth,
                                     .samples = to_depth_samples};
}  // namespace vitrail
