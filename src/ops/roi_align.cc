// SPDX-License-Identifier: Apache-2.0
// ONNX RoiAlign-16: regions of an image averaged (or their maximum taken) into a fixed grid of bins
// by bilinear samples (He et al., Mask R-CNN, 2017).
#include <algorithm>
#include <array>
#include <cmath>

#include "ops/rules.h"

namespace vitrail {
namespace {
constexpr int64_t kMostSamples = 1 << 12;  // of one bin along one axis

void infer(InferContext& ctx) {
  const ValueInfo &x = ctx.in(0), &rois = ctx.in(1), &batch = ctx.in(2);
  require(is_float(x.dtype) && is_float(rois.dtype), Code::bad_input,
          "image and regions are {} and {}, expected floats", name_of(x.dtype),
          name_of(rois.dtype));
  require(x.rank() == 4 && rois.rank() == 2 && batch.rank() == 1, Code::bad_input,
          "image {}, regions {}, indices {}: expected [N, C, H, W], [regions, 4], [regions]",
          to_string(x.shape), to_string(rois.shape), to_string(batch.shape));
  require_index_type(ctx, 2, "indices of images");
  unify(ctx, rois.shape[1], 4, "coordinates of a region");
  const Expr count = unify(ctx, rois.shape[0], batch.shape[0], "numbers of regions and of indices");
  const int64_t height = ctx.attrs.integer("output_height", 1),
                width = ctx.attrs.integer("output_width", 1);
  require(height >= 1 && width >= 1, Code::bad_input,
          "output_height {} and output_width {} must be at least 1", height, width);
  const int64_t samples = ctx.attrs.integer("sampling_ratio", 0);
  require(0 <= samples && samples <= kMostSamples, Code::bad_input,
          "sampling_ratio is {}, expected 0 to {}", samples, kMostSamples);
  const double scale = ctx.attrs.number("spatial_scale", 1.0);
  require(std::isfinite(scale) && scale > 0, Code::bad_input,
          "spatial_scale is {}, expected a number above 0", scale);
  const std::string mode = ctx.attrs.text("mode", "avg"),
                    corners = ctx.attrs.text("coordinate_transformation_mode", "half_pixel");
  require(mode == "avg" || mode == "max", Code::bad_input, "mode '{}': expected avg or max",
          printable(mode));
  require(corners == "half_pixel" || corners == "output_half_pixel", Code::bad_input,
          "coordinate_transformation_mode '{}': expected half_pixel or output_half_pixel",
          printable(corners));
  ctx.out().dtype = x.dtype;
  ctx.out().shape = {count, x.shape[1], height, width};
}

struct Samples {
  double start, bin;
  int64_t count;
  double position(int64_t output, int64_t sample) const {
    return start + static_cast<double>(output) * bin +
           (static_cast<double>(sample) + 0.5) * bin / static_cast<double>(count);
  }
};
// Two neighbours along an axis and the weight of the second; nothing more than one element outside.
struct Neighbours {
  int64_t low = 0, high = 0;
  double weight = 0;
  bool outside = false;
};
Neighbours neighbours(double at, int64_t extent) {
  if (!(at >= -1 && at <= static_cast<double>(extent))) return {0, 0, 0, true};
  at = std::clamp(at, 0.0, static_cast<double>(extent - 1));
  const auto low = static_cast<int64_t>(at);
  return {low, std::min(low + 1, extent - 1), at - static_cast<double>(low), false};
}

void reference(RunContext& ctx) {
  const Tensor &x = ctx.in(0), &rois = ctx.in(1), &batch = ctx.in(2);
  const Dims dims = dims_by_rule(ctx, infer);
  const int64_t channels = x.dims()[1], height = x.dims()[2], width = x.dims()[3];
  const double scale = ctx.attrs.number("spatial_scale", 1.0);
  const bool half = ctx.attrs.text("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  const bool take_max = ctx.attrs.text("mode", "avg") == "max";
  const int64_t wanted = ctx.attrs.integer("sampling_ratio", 0);
  ctx.out() = Tensor(x.dtype(), dims);
  require(height > 0 && width > 0, Code::bad_input, "the image {} is empty", to_string(x.dims()));
  const auto samples_of = [&](int64_t roi, int64_t first, int64_t bins) {
    double edges[2];
    for (int64_t e = 0; e < 2; ++e) {
      edges[e] = rois.number_at(roi * 4 + first + 2 * e) * scale - (half ? 0.5 : 0.0);
      require(std::isfinite(edges[e]), Code::bad_input,
              "region {} has a coordinate that is not a finite number", roi);
    }
    // Before half pixels, regions of nothing were given one pixel.
    const double length = half ? edges[1] - edges[0] : std::max(edges[1] - edges[0], 1.0),
                 bin = length / static_cast<double>(bins);
    const double count = wanted > 0 ? static_cast<double>(wanted) : std::max(1.0, std::ceil(bin));
    require(count <= kMostSamples, Code::bad_input,
            "region {} spans {} elements, too many to sample", roi, length);
    return Samples{edges[0], bin, static_cast<int64_t>(count)};
  };
  with_float_type(x.dtype(), "RoiAlign", [&](auto tag) {
    using T = decltype(tag);
    T* to = ctx.out().mutable_data<T>();
    for (int64_t roi = 0; roi < dims[0]; ++roi) {
      const int64_t image = batch.int_at(roi);
      require(0 <= image && image < x.dims()[0], Code::bad_input, "region {} is of image {}, of {}",
              roi, image, x.dims()[0]);
      const Samples across = samples_of(roi, 0, dims[3]), down = samples_of(roi, 1, dims[2]);
      for (int64_t c = 0; c < channels; ++c) {
        const T* plane = x.data<T>() + (image * channels + c) * height * width;
        for (int64_t oy = 0; oy < dims[2]; ++oy)
          for (int64_t ox = 0; ox < dims[3]; ++ox) {
            double sum = 0, best = 0;
            bool first = true;
            for (int64_t sy = 0; sy < down.count; ++sy)
              for (int64_t sx = 0; sx < across.count; ++sx) {
                const Neighbours v = neighbours(down.position(oy, sy), height),
                                 u = neighbours(across.position(ox, sx), width);
                std::array<double, 4> parts{};
                if (!v.outside && !u.outside) {
                  const auto at = [&](int64_t y, int64_t w) {
                    return static_cast<double>(plane[y * width + w]);
                  };
                  parts = {at(v.low, u.low) * (1 - v.weight) * (1 - u.weight),
                           at(v.low, u.high) * (1 - v.weight) * u.weight,
                           at(v.high, u.low) * v.weight * (1 - u.weight),
                           at(v.high, u.high) * v.weight * u.weight};
                }
                sum += parts[0] + parts[1] + parts[2] + parts[3];
                // As defined by ONNX: the maximum of the weighted neighbours, not of the samples.
                const double most = *std::max_element(parts.begin(), parts.end());
                best = first ? most : std::max(best, most);
                first = false;
              }
            *to++ = static_cast<T>(take_max ? best
                                            : sum / static_cast<double>(down.count * across.count));
          }
      }
    }
  });
}
std::vector<Sample> samples() {
  const SampleInput image{.dims = {2, 3, 9, 11}},
      rois{.fixed = Tensor::of<float>({3, 4}, {1, 2, 9, 7, 0.5f, -3, 12, 8, 4, 4, 4, 4})};
  const SampleInput batch{.fixed = Tensor::of<int64_t>({3}, {1, 0, 1})};
  return {{.inputs = {image, rois, batch},
           .attrs = {{"output_height", int64_t{3}},
                     {"output_width", int64_t{2}},
                     {"spatial_scale", 0.75}}},
          {.inputs = {image, rois, batch},
           .attrs = {{"mode", "max"},
                     {"sampling_ratio", int64_t{2}},
                     {"coordinate_transformation_mode", "output_half_pixel"}}}};
}
}  // namespace
extern const OpDef roi_align_op{.name = "RoiAlign",
                                .domain = "",
                                .version = 16,
                                .attrs = {{"coordinate_transformation_mode", AttrKind::text},
                                          {"mode", AttrKind::text},
                                          {"output_height", AttrKind::integer},
                                          {"output_width", AttrKind::integer},
                                          {"sampling_ratio", AttrKind::integer},
                                          {"spatial_scale", AttrKind::number}},
                                .min_inputs = 3,
                                .max_inputs = 3,
                                .min_outputs = 1,
                                .max_outputs = 1,
                                .traits = {},
                                .infer = infer,
                                .reference = reference,
                                .samples = samples};
}  // namespace vitrail
