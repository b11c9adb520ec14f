// SPDX-License-Identifier: Apache-2.0
// ONNX Pad-19: elements added before and after along some axes. Negative pads remove elements,
// and what the modes then repeat is what is left.
#include <algorithm>

#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
struct Pads {
  std::vector<Expr> begin, end;
};
// For every axis; nothing when they are not known yet.
std::optional<Pads> pads_of(InferContext& ctx) {
  const size_t rank = ctx.in(0).rank();
  std::vector<int64_t> axes(rank);
  for (size_t i = 0; i < rank; ++i) axes[i] = static_cast<int64_t>(i);
  if (ctx.has(3)) axes = normalize_axes(constant_list_of(ctx, 3, "axes"), rank, "axis");
  const int64_t count = list_length(ctx, 1, "pads");
  require(count == 2 * static_cast<int64_t>(axes.size()), Code::bad_input,
          "{} pads for {} axes, expected two an axis", count, axes.size());
  const auto given = list_of(ctx, 1, "pads");
  if (!given) return {};
  Pads out{std::vector<Expr>(rank, 0), std::vector<Expr>(rank, 0)};
  for (const Expr& pad : *given) {
    const Interval bounds = pad.bounds(ctx.ranges);
    require(bounds.high > -Interval::kUnbounded && bounds.low < Interval::kUnbounded,
            Code::bad_input, "a pad of {}", pad.str());
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    out.begin[static_cast<size_t>(axes[i])] = (*given)[i];
    out.end[static_cast<size_t>(axes[i])] = (*given)[axes.size() + i];
  }
  return out;
}
std::string mode_of(const Attrs& attrs) {
  std::string mode = attrs.text("mode", "constant");
  require(mode == "constant" || mode == "reflect" || mode == "edge" || mode == "wrap",
          Code::bad_input, "mode '{}': expected constant, reflect, edge or wrap", printable(mode));
  return mode;
}
void infer(InferContext& ctx) {
  const ValueInfo& in = ctx.in(0);
  ctx.out().dtype = in.dtype;
  mode_of(ctx.attrs);
  if (ctx.has(2)) {
    require_type_of_first(ctx, 2);
    unify(ctx, element_count(ctx.in(2).shape), 1, "elements of the constant and 1");
  }
  const auto pads = pads_of(ctx);
  for (size_t i = 0; i < in.rank(); ++i) {
    const Expr extent = pads ? in.shape[i] + pads->begin[i] + pads->end[i]
                             : data_extent(ctx, "extent", Interval::kUnbounded);
    require_extent(ctx, extent, "a padded extent");
    ctx.out().shape.push_back(extent);
  }
}

// Where element i of the input, maybe outside [low, high), is taken from; -1: from nowhere.
int64_t source(int64_t i, int64_t low, int64_t high, const std::string& mode) {
  if (low <= i && i < high) return i;
  if (mode == "constant") return -1;
  const int64_t n = high - low;
  require(n > 0, Code::bad_input, "mode {} has no element to repeat", mode);
  if (mode == "edge") return i < low ? low : high - 1;
  const auto positive_mod = [](int64_t a, int64_t m) { return ((a % m) + m) % m; };
  if (mode == "wrap") return low + positive_mod(i - low, n);
  if (n == 1) return low;
  const int64_t in_period = positive_mod(i - low, 2 * (n - 1));
  return low + std::min(in_period, 2 * (n - 1) - in_period);
}

void reference(RunContext& ctx) {
  const Tensor& in = ctx.in(0);
  const std::string mode = mode_of(ctx.attrs);
  const Dims dims = dims_by_rule(ctx, infer), strides = row_major(in.dims());
  ctx.out() = Tensor(in.dtype(), dims);
  if (ctx.out().size() == 0) return;
  Dims begin, end;
  apply_rule(ctx, [&](InferContext& rule) {
    const auto pads = pads_of(rule);
    begin = to_dims(pads->begin);
    end = to_dims(pads->end);
  });
  // Offsets of the input's element for each index of each output axis.
  std::vector<Dims> offsets(in.rank());
  for (size_t d = 0; d < in.rank(); ++d)
    for (int64_t o = 0; o < dims[d]; ++o) {
      const int64_t i = source(o - begin[d], std::max<int64_t>(0, -begin[d]),
                               in.dims()[d] - std::max<int64_t>(0, -end[d]), mode);
      offsets[d].push_back(i < 0 ? -1 : i * strides[d]);
    }
  with_cell(in.dtype(), "Pad", [&](auto tag) {
    using C = decltype(tag);
    const C fill =
        ctx.has(2) ? *cells<C>(ctx.in(2)) : C{};  // the bytes of zero are zero in every type
    const C* from = cells<C>(in);
    C* to = mutable_cells<C>(ctx.out());
    Dims index(dims.size(), 0);
    do {
      int64_t at = 0;
      for (size_t d = 0; d < dims.size() && at >= 0; ++d) {
        const int64_t step = offsets[d][static_cast<size_t>(index[d])];
        at = step < 0 ? -1 : at + step;
      }
      *to++ = at < 0 ? fill : from[at];
    } while (next_index(index, dims));
  });
}
std::vector<Sample> samples() {
  const auto list = [](const std::vector<int64_t>& v) {
    return SampleInput{.fixed = Tensor::of<int64_t>({static_cast<int64_t>(v.size())}, v)};
  };
  const SampleInput image{.dims = {2, 4, 5}}, absent{.absent = true};
  return {{.inputs = {image, list({0, 1, 2, 1, 0, 3}), {.fixed = Tensor::scalar(0.5f)}},
           .attrs = {{"mode", "constant"}}},
          {.inputs = {image, list({0, -1, 2, 0, 2, -2})}},
          {.inputs = {image, list({2, 3, 1, 4}), absent, list({-1, 1})},
           .attrs = {{"mode", "reflect"}}},
          {.inputs = {image, list({1, 1, 7, 2, 3, 4})}, .attrs = {{"mode", "edge"}}},
          {.inputs = {image, list({1, 5, 7, 2, 3, 4})}, .attrs = {{"mode", "wrap"}}}};
}
}  // namespace
extern const OpDef pad_op{.name = "Pad",
                          .domain = "",
                          .version = 19,
                          .attrs = {{"mode", AttrKind::text}},
                          .min_inputs = 2,
                          .max_inputs = 4,
                          .min_outputs = 1,
                          .max_outputs = 1,
                          .traits = {},
                          .infer = infer,
                          .reference = reference,
                          .samples = samples};
}  // namespace vitrail
