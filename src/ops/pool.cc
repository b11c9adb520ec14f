// SPDX-License-Identifier: Apache-2.0
// ONNX MaxPool-12, AveragePool-19, GlobalMaxPool-1 and GlobalAveragePool-1.
#include <cmath>
#include <limits>

#include "ops/elementwise.h"
#include "ops/window.h"

namespace vitrail {
namespace {
Shape constant_shape(const std::vector<int64_t>& v) { return Shape(v.begin(), v.end()); }

std::vector<WindowAxis> infer_windows(InferContext& ctx) {
  const ValueInfo& x = ctx.in(0);
  const Shape in = spatial_of(x, "the input");
  require(in.size() <= 3, Code::unsupported, "{} spatial axes; up to 3 are supported", in.size());
  auto axes = windows_of(ctx, in, constant_shape(kernel_shape_of(ctx, in.size())));
  for (ValueInfo& out : ctx.outputs) {
    out.shape = {x.shape[0], x.shape[1]};
    for (const WindowAxis& a : axes) out.shape.push_back(a.out);
  }
  return axes;
}

// The windows of one image plane with numbers.
struct Planes {
  Dims in;  // three spatial extents
  std::vector<FixedWindowAxis> windows;
  int64_t count;  // planes
  Dims out_dims;

  int64_t in_size() const { return in[0] * in[1] * in[2]; }
};
Planes planes_of(const RunContext& ctx) {
  Planes p;
  p.out_dims = to_dims(
      apply_rule(ctx,
                 [&](InferContext& rule) { p.windows = as_three(fixed(infer_windows(rule))); })[0]
          .shape);
  const Dims& dims = ctx.in(0).dims();
  p.in = as_three(Dims(dims.begin() + 2, dims.end()));
  p.count = dims[0] * dims[1];
  return p;
}
// start() for each output element, tap(offset in the plane, position) for each input element of its
// window, finish(plane).
template <typename Start, typename Tap, typename Finish>
void for_each_window(const Planes& p, Start start, Tap tap, Finish finish) {
  const FixedWindowAxis &az = p.windows[0], &ay = p.windows[1], &ax = p.windows[2];
  const auto inside = [&](int64_t i, size_t axis) { return 0 <= i && i < p.in[axis]; };
  for (int64_t plane = 0; plane < p.count; ++plane)
    for (int64_t oz = 0; oz < az.out; ++oz)
      for (int64_t oy = 0; oy < ay.out; ++oy)
        for (int64_t ox = 0; ox < ax.out; ++ox) {
          start();
          for (int64_t kz = 0; kz < az.kernel; ++kz)
            for (int64_t ky = 0; ky < ay.kernel; ++ky)
              for (int64_t kx = 0; kx < ax.kernel; ++kx) {
                const int64_t z = oz * az.stride - az.pad_begin + kz * az.dilation;
                const int64_t y = oy * ay.stride - ay.pad_begin + ky * ay.dilation;
                const int64_t x = ox * ax.stride - ax.pad_begin + kx * ax.dilation;
                const bool data = inside(z, 0) && inside(y, 1) && inside(x, 2);
                // With ceil_mode a window may reach beyond the padding.
                const bool padding = z < p.in[0] + az.pad_end && y < p.in[1] + ay.pad_end &&
                                     x < p.in[2] + ax.pad_end;
                if (padding)
                  tap(data ? plane * p.in_size() + (z * p.in[1] + y) * p.in[2] + x : -1, z, y, x);
              }
          finish(plane);
        }
}

void infer_max(InferContext& ctx) {
  const DType t = ctx.in(0).dtype;
  require(is_float(t) || t == DType::i8 || t == DType::u8, Code::bad_input,
          "the input is {}, expected a float type, i8 or u8", name_of(t));
  const int64_t order = ctx.attrs.integer("storage_order", 0);
  require(order == 0 || order == 1, Code::bad_input, "storage_order is {}, expected 0 or 1", order);
  infer_windows(ctx);
  ctx.out().dtype = t;
  if (ctx.outputs.size() > 1) ctx.out(1).dtype = DType::i64;
}
void max_pool(RunContext& ctx) {
  const Tensor& in = ctx.in(0);
  const Planes p = planes_of(ctx);
  const bool columns_first = ctx.attrs.integer("storage_order", 0) == 1;
  with_type(in.dtype(), "MaxPool", [&](auto tag) {
    using T = decltype(tag);
    constexpr T kLowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                               : std::numeric_limits<T>::lowest();
    Tensor values(in.dtype(), p.out_dims), indices(DType::i64, p.out_dims);
    const T* x = in.data<T>();
    T* to = values.mutable_data<T>();
    int64_t* index_to = indices.mutable_data<int64_t>();
    T best{};
    int64_t at = 0;
    for_each_window(
        p, [&] { best = kLowest, at = -1; },
        [&](int64_t offset, int64_t z, int64_t y, int64_t w) {
          // A NaN wins and stays.
          if (offset < 0 ||
              !(at < 0 || x[offset] > best || (x[offset] != x[offset] && best == best)))
            return;
          best = x[offset];
          at = columns_first ? offset / p.in_size() * p.in_size() + (w * p.in[1] + y) * p.in[0] + z
                             : offset;
        },
        [&](int64_t) {
          *to++ = best;
          *index_to++ = at;  // -1: nothing but padding
        });
    ctx.out() = std::move(values);
    if (ctx.outputs.size() > 1) ctx.out(1) = std::move(indices);
  });
}
using Ints = std::vector<int64_t>;
std::vector<Sample> max_samples() {
  return {
      {.inputs = {{.dims = {2, 3, 7, 8}}},
       .attrs = {{"kernel_shape", Ints{3, 2}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 0, 1, 1}}},
       .outputs = 2},
      {.inputs = {{.dims = {1, 2, 8, 9}}},
       .attrs = {{"kernel_shape", Ints{3, 3}},
                 {"dilations", Ints{2, 1}},
                 {"storage_order", int64_t{1}}},
       .outputs = 2},
      {.inputs = {{.dims = {1, 2, 8, 9}}},
       .attrs = {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"ceil_mode", int64_t{1}}}},
      {.inputs = {{.dims = {1, 2, 7, 5}}},
       .attrs = {{"kernel_shape", Ints{2, 2}},
                 {"strides", Ints{2, 2}},
                 {"auto_pad", "SAME_UPPER"}}},
      {.inputs = {{.dtype = DType::u8, .dims = {1, 2, 9}, .low = 0, .high = 255}},
       .attrs = {{"kernel_shape", Ints{4}}}}};
}

void infer_average(InferContext& ctx) {
  require_float(ctx);
  infer_windows(ctx);
  ctx.out().dtype = ctx.in(0).dtype;
}
void average_pool(RunContext& ctx) {
  const Tensor& in = ctx.in(0);
  const Planes p = planes_of(ctx);
  const bool count_padding = ctx.attrs.integer("count_include_pad", 0) != 0;
  with_float_type(in.dtype(), "AveragePool", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(in.dtype(), p.out_dims);
    const T* x = in.data<T>();
    T* to = ctx.out().mutable_data<T>();
    double sum = 0;
    int64_t count = 0;
    for_each_window(
        p, [&] { sum = 0, count = 0; },
        [&](int64_t offset, int64_t, int64_t, int64_t) {
          if (offset >= 0) sum += static_cast<double>(x[offset]);
          if (offset >= 0 || count_padding) ++count;
        },
        // The mean of nothing is 0, as with padding that counts.
        [&](int64_t) { *to++ = static_cast<T>(count ? sum / static_cast<double>(count) : 0.0); });
  });
}
std::vector<Sample> average_samples() {
  return {{.inputs = {{.dims = {2, 3, 7, 8}}},
           .attrs = {{"kernel_shape", Ints{3, 2}},
                     {"strides", Ints{2, 2}},
                     {"pads", Ints{1, 0, 1, 1}}}},
          {.inputs = {{.dims = {1, 2, 8, 9}}},
           .attrs = {{"kernel_shape", Ints{3, 3}},
                     {"strides", Ints{2, 2}},
                     {"pads", Ints{1, 1, 1, 1}},
                     {"ceil_mode", int64_t{1}},
                     {"count_include_pad", int64_t{1}}}},
          {.inputs = {{.dims = {1, 2, 8, 9}}},
           .attrs = {{"kernel_shape", Ints{3, 3}}, {"dilations", Ints{2, 1}}}},
          {.inputs = {{.dims = {1, 2, 7}}},
           .attrs = {{"kernel_shape", Ints{2}}, {"strides", Ints{2}}, {"auto_pad", "SAME_LOWER"}}}};
}

void infer_global(InferContext& ctx) {
  require_float(ctx);
  const ValueInfo& x = ctx.in(0);
  ctx.out().shape = {x.shape[0], x.shape[1]};
  ctx.out().shape.resize(2 + spatial_of(x, "the input").size(), 1);
}
// start, then step(state, value) over each plane, then finish(state, elements).
template <typename Step, typename Finish>
void reduce_planes(RunContext& ctx, const char* op, double start, Step step, Finish finish) {
  const Tensor& in = ctx.in(0);
  const Dims dims = dims_by_rule(ctx, infer_global);
  with_float_type(in.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(in.dtype(), dims);
    const int64_t plane = element_count(Dims(in.dims().begin() + 2, in.dims().end()));
    require(plane > 0 || ctx.out().size() == 0, Code::bad_input, "{} of an empty image {}", op,
            to_string(in.dims()));
    const T* x = in.data<T>();
    T* to = ctx.out().mutable_data<T>();
    for (int64_t i = 0; i < ctx.out().size(); ++i) {
      double state = start;
      for (int64_t j = 0; j < plane; ++j)
        state = step(state, static_cast<double>(x[i * plane + j]));
      to[i] = static_cast<T>(finish(state, static_cast<double>(plane)));
    }
  });
}
void global_average(RunContext& ctx) {
  reduce_planes(
      ctx, "GlobalAveragePool", 0, [](double sum, double x) { return sum + x; },
      [](double sum, double n) { return sum / n; });
}
void global_max(RunContext& ctx) {
  reduce_planes(
      ctx, "GlobalMaxPool", -std::numeric_limits<double>::infinity(),
      [](double best, double x) { return std::isnan(best) || x <= best ? best : x; },
      [](double best, double) { return best; });
}
std::vector<Sample> global_samples() {
  return {{.inputs = {{.dims = {2, 3, 5, 7}}}}, {.inputs = {{.dims = {2, 3, 5}}}}};
}
}  // namespace
extern const OpDef max_pool_op{.name = "MaxPool",
                               .domain = "",
                               .version = 12,
                               .attrs = {{"auto_pad", AttrKind::text},
                                         {"ceil_mode", AttrKind::integer},
                                         {"dilations", AttrKind::integers},
                                         {"kernel_shape", AttrKind::integers, true},
                                         {"pads", AttrKind::integers},
                                         {"storage_order", AttrKind::integer},
                                         {"strides", AttrKind::integers}},
                               .min_inputs = 1,
                               .max_inputs = 1,
                               .min_outputs = 1,
                               .max_outputs = 2,
                               .traits = {},
                               .infer = infer_max,
                               .reference = max_pool,
                               .samples = max_samples};
extern const OpDef average_pool_op{.name = "AveragePool",
                                   .domain = "",
                                   .version = 19,
                                   .attrs = {{"auto_pad", AttrKind::text},
                                             {"ceil_mode", AttrKind::integer},
                                             {"count_include_pad", AttrKind::integer},
                                             {"dilations", AttrKind::integers},
                                             {"kernel_shape", AttrKind::integers, true},
                                             {"pads", AttrKind::integers},
                                             {"strides", AttrKind::integers}},
                                   .min_inputs = 1,
                                   .max_inputs = 1,
                                   .min_outputs = 1,
                                   .max_outputs = 1,
                                   .traits = {.reduction = true},
                                   .infer = infer_average,
                                   .reference = average_pool,
                                   .samples = average_samples};
extern const OpDef global_average_pool_op{.name = "GlobalAveragePool",
                                          .domain = "",
                                          .version = 1,
                                          .attrs = {},
                                          .min_inputs = 1,
                                          .max_inputs = 1,
                                          .min_outputs = 1,
                                          .max_outputs = 1,
                                          .traits = {.reduction = true},
                                          .infer = infer_global,
                                          .reference = global_average,
                                          .samples = global_samples};
extern const OpDef global_max_pool_op{.name = "GlobalMaxPool",
                                      .domain = "",
                                      .version = 1,
                                      .attrs = {},
                                      .min_inputs = 1,
                                      .max_inputs = 1,
                                      .min_outputs = 1,
                                      .max_outputs = 1,
                                      .traits = {},
                                      .infer = infer_global,
                                      .reference = global_max,
                                      .samples = global_samples};
}  // namespace vitrail
