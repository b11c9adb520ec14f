// SPDX-License-Identifier: Apache-2.0
// ONNX Resize-19: an image sampled at other positions, axis by axis.
#include <algorithm>
#include <cmath>
#include <set>

#include "ops/rules.h"

namespace vitrail {
namespace {
constexpr size_t kRoi = 1, kScales = 2, kSizes = 3;
constexpr double kLargestScale = 65536;

bool given(const InferContext& ctx, size_t i) {
  // Exporters write an empty tensor for "not given".
  return ctx.has(i) && !(ctx.in(i).rank() == 1 && ctx.in(i).shape[0].is(0));
}
std::string choice(const Attrs& attrs, const char* name, const char* fallback,
                   const std::set<std::string>& known) {
  std::string value = attrs.text(name, fallback);
  require(known.contains(value), Code::bad_input, "{} '{}' is not one of the {} known", name,
          printable(value), known.size());
  return value;
}
std::string mode_of(const Attrs& attrs) {
  return choice(attrs, "mode", "nearest", {"nearest", "linear", "cubic"});
}
std::string coordinates_of(const Attrs& attrs) {
  return choice(attrs, "coordinate_transformation_mode", "half_pixel",
                {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                 "asymmetric", "tf_crop_and_resize"});
}
std::string policy_of(const Attrs& attrs) {
  return choice(attrs, "keep_aspect_ratio_policy", "stretch",
                {"stretch", "not_larger", "not_smaller"});
}
std::string nearest_of(const Attrs& attrs) {
  return choice(attrs, "nearest_mode", "round_prefer_floor",
                {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"});
}

// The fraction with the least denominator that rounds to the float32 `scale`: people write 0.7 and
// mean 7/10, so that 10 becomes 7 and not floor(6.9999998). Where no short one exists, the float's
// own (dyadic) value.
std::pair<int64_t, int64_t> fraction_of(double scale) {
  constexpr int64_t kLongest = 1024;
  for (int64_t q = 1; q <= kLongest; ++q) {
    const double p = std::round(scale * static_cast<double>(q));
    if (static_cast<float>(p / static_cast<double>(q)) == static_cast<float>(scale))
      return {static_cast<int64_t>(p), q};
  }
  int exponent;
  const auto mantissa =
      static_cast<int64_t>(std::ldexp(std::frexp(static_cast<float>(scale), &exponent), 24));
  const int shift = 24 - exponent;
  return shift <= 0 ? std::pair{mantissa << -shift, int64_t{1}}
                    : std::pair{mantissa, int64_t{1} << std::min(shift, 60)};
}

struct Target {
  std::vector<int64_t> axes;
  bool by_scales = false;
  std::vector<double> scales;  // of the axes, when known
};
Target infer_target(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  const size_t rank = in.rank();
  mode_of(ctx.attrs);
  nearest_of(ctx.attrs);
  const std::string policy = policy_of(ctx.attrs);
  Target target;
  std::vector<int64_t> all(rank);
  for (size_t i = 0; i < rank; ++i) all[i] = static_cast<int64_t>(i);
  target.axes = normalize_axes(ctx.attrs.integers("axes", all), rank, "axis");
  const auto count = static_cast<int64_t>(target.axes.size());
  target.by_scales = given(ctx, kScales);
  require(target.by_scales != given(ctx, kSizes), Code::bad_input,
          "expected either scales or sizes");
  if (coordinates_of(ctx.attrs) == "tf_crop_and_resize") {
    require(given(ctx, kRoi), Code::bad_input, "tf_crop_and_resize needs the input roi");
    require(is_float(ctx.in(kRoi).dtype) && ctx.in(kRoi).rank() == 1, Code::bad_input,
            "roi must be a list of floats");
    unify(ctx, ctx.in(kRoi).shape[0], 2 * count, "length of roi and twice the number of axes");
  }
  ctx.out().dtype = in.dtype;
  ctx.out().shape = in.shape;
  if (target.by_scales) {
    const ValueInfo& scales = ctx.in(kScales);
    require(is_float(scales.dtype) && scales.rank() == 1, Code::bad_input,
            "scales must be a list of floats");
    unify(ctx, scales.shape[0], count, "number of scales and of axes");
    const auto symbolic = scales.constant ? std::nullopt : scales.ints();
    for (size_t i = 0; i < target.axes.size(); ++i) {
      Expr& extent = ctx.out().shape[static_cast<size_t>(target.axes[i])];
      if (symbolic) {
        extent *= (*symbolic)[i];
      } else if (!scales.constant) {
        extent = data_extent(ctx, "extent", Interval::kUnbounded);
      } else {
        const double scale = scales.constant->number_at(static_cast<int64_t>(i));
        require(std::isfinite(scale) && scale > 0 && scale <= kLargestScale, Code::bad_input,
                "scale {} of axis {}: expected a number above 0 up to {}", scale, target.axes[i],
                kLargestScale);
        target.scales.push_back(scale);
        const auto [p, q] = fraction_of(scale);
        extent = floordiv(extent * Expr(p), q);
      }
    }
    return target;
  }
  require(list_length(ctx, kSizes, "sizes") == count, Code::bad_input, "{} sizes for {} axes",
          list_length(ctx, kSizes, "sizes"), count);
  const auto sizes = list_of(ctx, kSizes, "sizes");
  double common = 0;  // with a policy, one scale for all axes
  for (size_t i = 0; i < target.axes.size(); ++i) {
    Expr& extent = ctx.out().shape[static_cast<size_t>(target.axes[i])];
    const Expr size = sizes ? (*sizes)[i] : data_extent(ctx, "extent", Interval::kUnbounded);
    require_extent(ctx, size, "a size");
    if (policy != "stretch") {
      require(size.is_constant() && extent.is_constant() && extent.constant() > 0,
              Code::unsupported,
              "keep_aspect_ratio_policy {} needs extents and sizes that are known, found {} and {}",
              policy, extent.str(), size.str());
      const double scale =
          static_cast<double>(size.constant()) / static_cast<double>(extent.constant());
      common = i == 0                   ? scale
               : policy == "not_larger" ? std::min(common, scale)
                                        : std::max(common, scale);
      continue;
    }
    require(!extent.is(0) || size.bounds(ctx.ranges).low <= 0, Code::bad_input,
            "axis {} has no element to resize to {}", target.axes[i], size.str());
    extent = size;
  }
  if (policy != "stretch")
    for (int64_t axis : target.axes) {
      Expr& extent = ctx.out().shape[static_cast<size_t>(axis)];
      // Halves round up.
      const double rounded = std::floor(common * static_cast<double>(extent.constant()) + 0.5);
      require(rounded < 0x1p53, Code::bad_input, "axis {} would have {} elements", axis, rounded);
      extent = static_cast<int64_t>(rounded);
      target.scales.push_back(common);
    }
  return target;
}
void infer(InferContext& ctx) {
  require(ctx.in(0).dtype != DType::string && ctx.in(0).dtype != DType::boolean, Code::bad_input,
          "the input is {}", name_of(ctx.in(0).dtype));
  infer_target(ctx);
}

// What one output index of one axis is made of.
struct Source {
  std::vector<int64_t> index;
  std::vector<double> weight;
  bool extrapolate = false;
};
struct Axis {
  int64_t in, out;
  double scale, roi_begin = 0, roi_end = 1;
};

double position(const Axis& a, int64_t i, const std::string& mode) {
  const double x = static_cast<double>(i), in = static_cast<double>(a.in), out = a.scale * in;
  if (mode == "align_corners") return out == 1 ? 0 : x * (in - 1) / (out - 1);
  if (mode == "asymmetric") return x / a.scale;
  if (mode == "tf_crop_and_resize")
    return a.roi_begin * (in - 1) + (a.out == 1
                                         ? (a.roi_end - a.roi_begin) * (in - 1) / 2
                                         : x * (a.roi_end - a.roi_begin) * (in - 1) / (out - 1));
  if (mode == "pytorch_half_pixel" && a.out == 1) return 0;
  const double half = (x + 0.5) / a.scale - 0.5;
  // The centre of the image stays the centre though `out` was rounded down.
  if (mode == "half_pixel_symmetric") return in / 2 * (1 - static_cast<double>(a.out) / out) + half;
  return half;
}

double cubic_weight(double x, double a) {
  x = std::fabs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

// Weights of the elements first, first + 1, ... around `x`.
std::vector<double> weights_around(double x, const Attrs& attrs, double scale, int64_t* first) {
  const std::string mode = mode_of(attrs);
  const double whole = std::floor(x), ratio = x - whole;
  if (mode == "nearest") {
    const std::string rule = nearest_of(attrs);
    const bool up = ratio > 0 && (rule == "ceil" || (rule == "round_prefer_floor" && ratio > 0.5) ||
                                  (rule == "round_prefer_ceil" && ratio >= 0.5));
    *first = static_cast<int64_t>(whole) + up;
    return {1.0};
  }
  // Antialiasing stretches the filter over all elements that a shrunk one stands for.
  const double stretch = attrs.integer("antialias", 0) ? std::min(scale, 1.0) : 1.0;
  const bool cubic = mode == "cubic";
  const double radius = (cubic ? 2.0 : 1.0) / stretch, a = attrs.number("cubic_coeff_a", -0.75);
  const auto start = static_cast<int64_t>(std::floor(-radius)) + 1, end = 1 - start;
  *first = static_cast<int64_t>(whole) + start;
  std::vector<double> weights;
  double sum = 0;
  for (int64_t i = start; i <= end; ++i) {
    const double distance = stretch * (static_cast<double>(i) - ratio);
    weights.push_back(cubic ? cubic_weight(distance, a) : std::max(0.0, 1 - std::fabs(distance)));
    sum += weights.back();
  }
  for (double& w : weights) w /= sum;
  return weights;
}

Source source_of(const Axis& axis, int64_t i, const Attrs& attrs) {
  const std::string coordinates = coordinates_of(attrs);
  const double x = position(axis, i, coordinates);
  Source source;
  source.extrapolate =
      coordinates == "tf_crop_and_resize" && !(x >= 0 && x <= static_cast<double>(axis.in - 1));
  if (source.extrapolate) return source;
  int64_t first = 0;
  // Positions far outside all see the edge.
  const double limit = 2 * static_cast<double>(axis.in) + 4;
  source.weight = weights_around(std::clamp(x, -limit, limit), attrs, axis.scale, &first);
  double sum = 0;
  for (size_t k = 0; k < source.weight.size(); ++k) {
    const int64_t at = first + static_cast<int64_t>(k);
    if (attrs.integer("exclude_outside", 0) && (at < 0 || at >= axis.in)) source.weight[k] = 0;
    sum += source.weight[k];
    source.index.push_back(std::clamp<int64_t>(at, 0, axis.in - 1));
  }
  if (attrs.integer("exclude_outside", 0) && sum != 0)
    for (double& w : source.weight) w /= sum;
  return source;
}

// x [outer, in, inner] along one axis.
template <typename T>
std::vector<double> resample(const std::vector<T>& x, int64_t outer, int64_t inner,
                             const Axis& axis, const Attrs& attrs, double outside) {
  std::vector<double> out(static_cast<size_t>(outer * axis.out * inner));
  for (int64_t i = 0; i < axis.out; ++i) {
    const Source source = source_of(axis, i, attrs);
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t j = 0; j < inner; ++j) {
        double sum = source.extrapolate ? outside : 0;
        for (size_t k = 0; k < source.index.size(); ++k)
          sum += source.weight[k] *
                 x[static_cast<size_t>((o * axis.in + source.index[k]) * inner + j)];
        out[static_cast<size_t>((o * axis.out + i) * inner + j)] = sum;
      }
  }
  return out;
}

void reference(RunContext& ctx) {
  const Tensor& in = ctx.in(0);
  Target target;
  const Dims dims =
      to_dims(apply_rule(ctx, [&](InferContext& rule) { target = infer_target(rule); })[0].shape);
  Tensor out(DType::f64, dims);
  if (out.size() == 0) {
    ctx.out() = out.cast(in.dtype());
    return;
  }
  const Tensor wide = in.cast(DType::f64);
  std::vector<double> x(wide.data<double>(), wide.data<double>() + wide.size());
  Dims extents = in.dims();
  for (size_t i = 0; i < target.axes.size(); ++i) {
    const auto d = static_cast<size_t>(target.axes[i]);
    Axis axis{extents[d], dims[d],
              static_cast<double>(dims[d]) / static_cast<double>(std::max<int64_t>(extents[d], 1))};
    if (!target.scales.empty()) axis.scale = target.scales[i];
    if (coordinates_of(ctx.attrs) == "tf_crop_and_resize") {
      axis.roi_begin = ctx.in(kRoi).number_at(static_cast<int64_t>(i));
      axis.roi_end = ctx.in(kRoi).number_at(static_cast<int64_t>(target.axes.size() + i));
    } else if (axis.in == axis.out && axis.scale == 1) {
      continue;
    }
    const int64_t outer =
        element_count(Dims(extents.begin(), extents.begin() + static_cast<std::ptrdiff_t>(d)));
    const int64_t inner =
        element_count(Dims(extents.begin() + static_cast<std::ptrdiff_t>(d) + 1, extents.end()));
    x = resample(x, outer, inner, axis, ctx.attrs, ctx.attrs.number("extrapolation_value", 0.0));
    extents[d] = axis.out;
  }
  std::copy(x.begin(), x.end(), out.mutable_data<double>());
  if (is_integer(in.dtype()) && mode_of(ctx.attrs) != "nearest")
    for (int64_t i = 0; i < out.size(); ++i)
      out.mutable_data<double>()[i] = std::nearbyint(x[static_cast<size_t>(i)]);
  ctx.out() = out.cast(in.dtype());
}

std::vector<Sample> samples() {
  const SampleInput image{.dims = {1, 2, 5, 7}}, none{.absent = true};
  const auto scales = [](const std::vector<float>& v) {
    return SampleInput{.fixed = Tensor::of<float>({static_cast<int64_t>(v.size())}, v)};
  };
  const auto sizes = [](const std::vector<int64_t>& v) {
    return SampleInput{.fixed = Tensor::of<int64_t>({static_cast<int64_t>(v.size())}, v)};
  };
  std::vector<Sample> out = {
      {.inputs = {image, none, scales({1, 1, 2, 3})}},
      {.inputs = {image, none, scales({1, 1, 0.7f, 0.6f})},
       .attrs = {{"mode", "linear"}, {"antialias", int64_t{1}}}},
      {.inputs = {image, none, none, sizes({1, 2, 9, 4})},
       .attrs = {{"mode", "cubic"}, {"cubic_coeff_a", -0.5}, {"exclude_outside", int64_t{1}}}},
      {.inputs = {image, none, none, sizes({4, 9})},
       .attrs = {{"mode", "cubic"},
                 {"antialias", int64_t{1}},
                 {"axes", std::vector<int64_t>{2, -1}}}},
      {.inputs = {image,
                  {.fixed = Tensor::of<float>({4}, {0.2f, -0.5f, 0.8f, 1.2f})},
                  none,
                  sizes({6, 5})},
       .attrs = {{"mode", "linear"},
                 {"axes", std::vector<int64_t>{2, 3}},
                 {"coordinate_transformation_mode", "tf_crop_and_resize"},
                 {"extrapolation_value", 10.0}}}};
  // As tests in which the same position is a tie or not in float32 and float64 say nothing, the
  // scales are exact.
  for (const char* mode :
       {"align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"})
    out.push_back({.inputs = {image, none, scales({1, 1, 0.5f, 1.5f})},
                   .attrs = {{"mode", "linear"}, {"coordinate_transformation_mode", mode}}});
  for (const char* mode : {"round_prefer_ceil", "floor", "ceil"})
    out.push_back(
        {.inputs = {image, none, scales({1, 1, 0.5f, 1.5f})}, .attrs = {{"nearest_mode", mode}}});
  out.push_back({.inputs = {image, none, none, sizes({10, 10})},
                 .attrs = {{"mode", "linear"},
                           {"axes", std::vector<int64_t>{2, 3}},
                           {"keep_aspect_ratio_policy", "not_larger"}}});
  return out;
}
}  // namespace
extern const OpDef resize_op{.name = "Resize",
                             .domain = "",
                             .version = 19,
                             .attrs = {{"antialias", AttrKind::integer},
                                       {"axes", AttrKind::integers},
                                       {"coordinate_transformation_mode", AttrKind::text},
                                       {"cubic_coeff_a", AttrKind::number},
                                       {"exclude_outside", AttrKind::integer},
                                       {"extrapolation_value", AttrKind::number},
                                       {"keep_aspect_ratio_policy", AttrKind::text},
                                       {"mode", AttrKind::text},
                                       {"nearest_mode", AttrKind::text}},
                             .min_inputs = 1,
                             .max_inputs = 4,
                             .min_outputs = 1,
                             .max_outputs = 1,
                             .traits = {},
                             .infer = infer,
                             .reference = reference,
                             .samples = samples};
}  // namespace vitrail
