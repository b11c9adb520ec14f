// SPDX-License-Identifier: Apache-2.0
// ONNX NonMaxSuppression-11: boxes in the order of their scores, without those that overlap a
// better one.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/rules.h"

namespace vitrail {
namespace {
constexpr size_t kMost = 2, kIou = 3, kScore = 4;

void infer(InferContext& ctx) {
  const ValueInfo &boxes = ctx.in(0), &scores = ctx.in(1);
  require(is_float(boxes.dtype) && is_float(scores.dtype), Code::bad_input,
          "boxes are {} and scores {}, expected floats", name_of(boxes.dtype),
          name_of(scores.dtype));
  require(boxes.rank() == 3 && scores.rank() == 3, Code::bad_input,
          "boxes {} and scores {}: expected [batch, boxes, 4] and [batch, classes, boxes]",
          to_string(boxes.shape), to_string(scores.shape));
  unify(ctx, boxes.shape[2], 4, "coordinates of a box");
  unify(ctx, boxes.shape[0], scores.shape[0], "batches of boxes and of scores");
  unify(ctx, boxes.shape[1], scores.shape[2], "numbers of boxes and of scores");
  const int64_t center = ctx.attrs.integer("center_point_box", 0);
  require(center == 0 || center == 1, Code::bad_input, "center_point_box is {}, expected 0 or 1",
          center);
  Expr each = 0;
  if (ctx.has(kMost)) {
    require(list_length(ctx, kMost, "max_output_boxes_per_class") == 1, Code::bad_input,
            "max_output_boxes_per_class must be one number");
    const auto most = list_of(ctx, kMost, "max_output_boxes_per_class");
    each = most && (*most)[0].is_constant() && boxes.shape[1].is_constant()
               ? Expr(std::clamp<int64_t>((*most)[0].constant(), 0, boxes.shape[1].constant()))
           : most ? min(clamp_to_zero(ctx, (*most)[0]), boxes.shape[1])
                  : boxes.shape[1];
  }
  ctx.out().dtype = DType::i64;
  ctx.out().shape = {data_extent(ctx, "selected", scores.shape[0] * scores.shape[1] * each), 3};
}

struct Box {
  double y1, x1, y2, x2;
  double area() const { return (y2 - y1) * (x2 - x1); }
};
// Corners may come in either order.
Box box_of(const Tensor& boxes, int64_t i, bool center) {
  double v[4];
  for (int64_t c = 0; c < 4; ++c) {
    v[c] = boxes.number_at(i * 4 + c);
    require(!std::isnan(v[c]), Code::bad_input, "box {} has a coordinate that is not a number", i);
  }
  if (center) return {v[1] - v[3] / 2, v[0] - v[2] / 2, v[1] + v[3] / 2, v[0] + v[2] / 2};
  return {std::min(v[0], v[2]), std::min(v[1], v[3]), std::max(v[0], v[2]), std::max(v[1], v[3])};
}
bool overlap(const Box& a, const Box& b, double threshold) {
  const double height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1),
               width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  if (!(height > 0) || !(width > 0)) return false;
  const double shared = height * width, whole = a.area() + b.area() - shared;
  return whole > 0 && shared / whole > threshold;
}
void reference(RunContext& ctx) {
  const Tensor &boxes = ctx.in(0), &scores = ctx.in(1);
  apply_rule(ctx, infer);
  const int64_t batches = scores.dims()[0], classes = scores.dims()[1], count = scores.dims()[2];
  const int64_t most = ctx.has(kMost) ? ctx.in(kMost).int_at(0) : 0;
  const double iou = ctx.has(kIou) ? ctx.in(kIou).number_at(0) : 0;
  const double least =
      ctx.has(kScore) ? ctx.in(kScore).number_at(0) : -std::numeric_limits<double>::infinity();
  require(iou >= 0 && iou <= 1, Code::bad_input, "iou_threshold is {}, expected 0 to 1", iou);
  const bool center = ctx.attrs.integer("center_point_box", 0) == 1;
  std::vector<int64_t> selected;
  for (int64_t b = 0; b < batches; ++b)
    for (int64_t c = 0; c < classes; ++c) {
      std::vector<int64_t> order;
      const auto score = [&](int64_t i) { return scores.number_at((b * classes + c) * count + i); };
      for (int64_t i = 0; i < count; ++i) {
        require(!std::isnan(score(i)), Code::bad_input,
                "the score of box {}, class {}, is not a number", i, c);
        if (!ctx.has(kScore) || score(i) > least) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t i, int64_t j) { return score(i) > score(j); });
      std::vector<Box> kept;
      for (int64_t i : order) {
        if (static_cast<int64_t>(kept.size()) >= most) break;
        const Box box = box_of(boxes, b * count + i, center);
        if (std::any_of(kept.begin(), kept.end(),
                        [&](const Box& k) { return overlap(k, box, iou); }))
          continue;
        kept.push_back(box);
        selected.insert(selected.end(), {b, c, i});
      }
    }
  ctx.out() = Tensor::of<int64_t>({static_cast<int64_t>(selected.size() / 3), 3}, selected);
}
std::vector<Sample> samples() {
  const auto number = [](float x) { return SampleInput{.fixed = Tensor::of<float>({1}, {x})}; };
  const SampleInput two{.fixed = Tensor::of<int64_t>({1}, {2})}, absent{.absent = true};
  const SampleInput boxes{.dims = {2, 6, 4}, .low = 0, .high = 1},
      scores{.dims = {2, 3, 6}, .low = 0, .high = 1};
  return {
      {.inputs = {boxes, scores, two, number(0.2f), number(0.3f)}},
      {.inputs = {boxes, scores, two, number(0.5f)}, .attrs = {{"center_point_box", int64_t{1}}}},
      {.inputs = {boxes, scores, {.fixed = Tensor::scalar<int64_t>(9)}, absent, number(2.0f)}},
      {.inputs = {boxes, scores}}};
}
}  // namespace
extern const OpDef non_max_suppression_op{.name = "NonMaxSuppression",
                                          .domain = "",
                                          .version = 11,
                                          .attrs = {{"center_point_box", AttrKind::integer}},
                                          .min_inputs = 2,
                                          .max_inputs = 5,
                                          .min_outputs = 1,
                                          .max_outputs = 1,
                                          .traits = {.discontinuous = true, .data_shape = true},
                                          .infer = infer,
                                          .reference = reference,
                                          .samples = samples};
}  // namespace vitrail
