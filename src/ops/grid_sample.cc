// SPDX-License-Identifier: Apache-2.0
// ONNX GridSample-20: an image [N, C, spatial...] read at positions grid [N, out..., axes], given
// from -1 to 1 with the innermost axis first.
#include <algorithm>
#include <cmath>

#include "ops/rules.h"

namespace vitrail {
namespace {
struct Modes {
  enum class Filter { nearest, linear, cubic } filter;
  enum class Padding { zeros, border, reflection } padding;
  bool align;
};
Modes modes_of(const Attrs& attrs) {
  const std::string filter = attrs.text("mode", "linear"),
                    padding = attrs.text("padding_mode", "zeros");
  Modes modes{};
  if (filter == "nearest")
    modes.filter = Modes::Filter::nearest;
  else if (filter == "linear" || filter == "bilinear")
    modes.filter = Modes::Filter::linear;
  else if (filter == "cubic" || filter == "bicubic")
    modes.filter = Modes::Filter::cubic;
  else
    fail(Code::bad_input, "mode '{}': expected nearest, linear or cubic", printable(filter));
  if (padding == "zeros")
    modes.padding = Modes::Padding::zeros;
  else if (padding == "border")
    modes.padding = Modes::Padding::border;
  else if (padding == "reflection")
    modes.padding = Modes::Padding::reflection;
  else
    fail(Code::bad_input, "padding_mode '{}': expected zeros, border or reflection",
         printable(padding));
  modes.align = attrs.integer("align_corners", 0) != 0;
  return modes;
}
void infer(InferContext& ctx) {
  const ValueInfo &x = ctx.in(0), &grid = ctx.in(1);
  modes_of(ctx.attrs);
  require(is_float(x.dtype) && is_float(grid.dtype), Code::bad_input,
          "inputs are {} and {}, expected floats", name_of(x.dtype), name_of(grid.dtype));
  require(x.rank() >= 3 && x.rank() == grid.rank(), Code::bad_input,
          "image {} and grid {}: expected [N, C, spatial...] and [N, out..., axes]",
          to_string(x.shape), to_string(grid.shape));
  unify(ctx, x.shape[0], grid.shape[0], "batches of image and grid");
  unify(ctx, grid.shape.back(), static_cast<int64_t>(x.rank() - 2),
        "coordinates of a grid position and spatial axes");
  ctx.out().dtype = x.dtype;
  ctx.out().shape = {x.shape[0], x.shape[1]};
  ctx.out().shape.insert(ctx.out().shape.end(), grid.shape.begin() + 1, grid.shape.end() - 1);
}

// Reflects x between low and high, however far outside it is.
double reflect(double x, double low, double high) {
  const double range = high - low;
  if (!(range > 0)) return low;
  const double distance = std::fabs(std::fmod(std::fabs(x - low), 2 * range));
  return low + (distance > range ? 2 * range - distance : distance);
}
// Index of the element that stands for index i (a whole number, maybe outside); -1: zero.
int64_t element(double i, int64_t n, const Modes& modes) {
  const double last = static_cast<double>(n - 1);
  if (modes.padding == Modes::Padding::zeros)
    return i >= 0 && i <= last ? static_cast<int64_t>(i) : -1;
  if (modes.padding == Modes::Padding::reflection)
    i = modes.align ? reflect(i, 0, last) : reflect(i, -0.5, last + 0.5);
  return static_cast<int64_t>(std::clamp(i, 0.0, last));
}
struct Taps {
  std::vector<int64_t> index;
  std::vector<double> weight;
};
Taps taps_of(double coordinate, int64_t n, const Modes& modes) {
  const double last = static_cast<double>(n - 1);
  double x = modes.align ? (coordinate + 1) / 2 * last
                         : ((coordinate + 1) * static_cast<double>(n) - 1) / 2;
  // Not a number, or far outside where neighbours cannot be told apart: the position -1.
  if (!(std::fabs(x) < 0x1p52)) x = -1;
  // For the cubic filter each neighbour is padded, otherwise the position.
  if (modes.filter != Modes::Filter::cubic) {
    if (modes.padding == Modes::Padding::border) x = std::clamp(x, 0.0, last);
    if (modes.padding == Modes::Padding::reflection)
      x = modes.align ? reflect(x, 0, last) : reflect(x, -0.5, last + 0.5);
  }
  if (modes.filter == Modes::Filter::nearest)
    return {{element(std::nearbyint(x), n, modes)}, {1.0}};
  const double whole = std::floor(x), t = x - whole;
  if (modes.filter == Modes::Filter::linear)
    return {{element(whole, n, modes), element(whole + 1, n, modes)}, {1 - t, t}};
  constexpr double kA = -0.75;  // as in PyTorch
  const auto near = [](double d) { return ((kA + 2) * d - (kA + 3)) * d * d + 1; };
  const auto far = [](double d) { return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA; };
  Taps taps{{}, {far(1 + t), near(t), near(1 - t), far(2 - t)}};
  for (int k = -1; k <= 2; ++k) taps.index.push_back(element(whole + k, n, modes));
  return taps;
}

// Sum over the taps of the axes d.. of weight times element.
template <typename T>
double interpolate(const T* plane, const std::vector<Taps>& taps, const Dims& strides, size_t d,
                   int64_t at) {
  if (d == taps.size()) return static_cast<double>(plane[at]);
  double sum = 0;
  for (size_t k = 0; k < taps[d].index.size(); ++k)
    if (taps[d].index[k] >= 0)
      sum += taps[d].weight[k] *
             interpolate(plane, taps, strides, d + 1, at + taps[d].index[k] * strides[d]);
  return sum;
}
void reference(RunContext& ctx) {
  const Tensor &x = ctx.in(0), &grid = ctx.in(1);
  const Dims dims = dims_by_rule(ctx, infer), spatial(x.dims().begin() + 2, x.dims().end()),
             strides = row_major(spatial);
  const Modes modes = modes_of(ctx.attrs);
  const int64_t plane = element_count(spatial),
                positions = element_count(Dims(dims.begin() + 2, dims.end()));
  const auto axes = static_cast<int64_t>(spatial.size());
  ctx.out() = Tensor(x.dtype(), dims);
  require(plane > 0 || ctx.out().size() == 0, Code::bad_input, "the image {} is empty",
          to_string(x.dims()));
  if (ctx.out().size() == 0) return;
  with_float_type(x.dtype(), "GridSample", [&](auto tag) {
    using T = decltype(tag);
    T* to = ctx.out().mutable_data<T>();
    for (int64_t n = 0; n < dims[0]; ++n)
      for (int64_t p = 0; p < positions; ++p) {
        std::vector<Taps> taps;
        for (int64_t d = 0; d < axes; ++d)
          taps.push_back(taps_of(grid.number_at((n * positions + p) * axes + axes - 1 - d),
                                 spatial[static_cast<size_t>(d)], modes));
        for (int64_t c = 0; c < dims[1]; ++c)
          to[(n * dims[1] + c) * positions + p] = static_cast<T>(
              interpolate(x.data<T>() + (n * dims[1] + c) * plane, taps, strides, 0, 0));
      }
  });
}
std::vector<Sample> samples() {
  const SampleInput image{.dims = {2, 3, 4, 5}},
      grid{.dims = {2, 3, 2, 2}, .low = -1.5, .high = 1.5};
  return {
      {.inputs = {image, grid}},
      {.inputs = {image, grid}, .attrs = {{"mode", "nearest"}, {"padding_mode", "border"}}},
      {.inputs = {image, grid},
       .attrs = {{"mode", "cubic"}, {"align_corners", int64_t{1}}, {"padding_mode", "reflection"}}},
      {.inputs = {image, grid}, .attrs = {{"padding_mode", "reflection"}}},
      {.inputs = {{.dims = {1, 2, 3, 4, 5}}, {.dims = {1, 2, 3, 2, 3}, .low = -1.5, .high = 1.5}},
       .attrs = {{"mode", "linear"}}}};
}
}  // namespace
extern const OpDef grid_sample_op{.name = "GridSample",
                                  .domain = "",
                                  .version = 20,
                                  .attrs = {{"align_corners", AttrKind::integer},
                                            {"mode", AttrKind::text},
                                            {"padding_mode", AttrKind::text}},
                                  .min_inputs = 2,
                                  .max_inputs = 2,
                                  .min_outputs = 1,
                                  .max_outputs = 1,
                                  .traits = {},
                                  .infer = infer,
                                  .reference = reference,
                                  .samples = samples};
}  // namespace vitrail
