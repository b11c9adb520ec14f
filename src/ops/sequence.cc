// SPDX-License-Identifier: Apache-2.0
// ONNX ReverseSequence-10 and Unique-11.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "ops/elementwise.h"
#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
struct Axes {
  size_t time, batch;
};
Axes axes_of(const Attrs& attrs) {
  const int64_t time = attrs.integer("time_axis", 0), batch = attrs.integer("batch_axis", 1);
  require((time == 0 && batch == 1) || (time == 1 && batch == 0), Code::bad_input,
          "time_axis {} and batch_axis {}: expected 0 and 1 or 1 and 0", time, batch);
  return {static_cast<size_t>(time), static_cast<size_t>(batch)};
}
void infer_reverse(InferContext& ctx) {
  const ValueInfo &in = ctx.in(0), &lengths = ctx.in(1);
  const Axes axes = axes_of(ctx.attrs);
  require(in.rank() >= 2 && lengths.rank() == 1, Code::bad_input,
          "input {} and lengths {}: expected rank 2 or more and a list", to_string(in.shape),
          to_string(lengths.shape));
  require_index_type(ctx, 1, "lengths");
  unify(ctx, lengths.shape[0], in.shape[axes.batch], "number of lengths and extent of the batch");
  ctx.out().dtype = in.dtype;
  ctx.out().shape = in.shape;
}
void reverse(RunContext& ctx) {
  apply_rule(ctx, infer_reverse);
  const Tensor& in = ctx.in(0);
  const Axes axes = axes_of(ctx.attrs);
  const Dims& dims = in.dims();
  const auto lengths = ctx.in(1).to_ints("lengths");
  ctx.out() = Tensor(in.dtype(), dims);
  for (int64_t length : lengths)
    require(0 <= length && length <= dims[axes.time], Code::bad_input,
            "a length is {}, expected 0 to {}", length, dims[axes.time]);
  const size_t bytes =
      static_cast<size_t>(element_count(Dims(dims.begin() + 2, dims.end()))) * size_of(in.dtype());
  for (int64_t t = 0; bytes && t < dims[axes.time]; ++t)
    for (int64_t b = 0; b < dims[axes.batch]; ++b) {
      const int64_t length = lengths[static_cast<size_t>(b)],
                    from = t < length ? length - 1 - t : t;
      const auto place = [&](int64_t time) {
        return static_cast<size_t>(axes.time == 0 ? time * dims[1] + b : b * dims[1] + time) *
               bytes;
      };
      std::memcpy(static_cast<char*>(ctx.out().mutable_raw()) + place(t),
                  static_cast<const char*>(in.raw()) + place(from), bytes);
    }
}
std::vector<Sample> reverse_samples() {
  return {{.inputs = {{.dims = {4, 3, 2}}, {.fixed = Tensor::of<int64_t>({3}, {2, 0, 4})}}},
          {.inputs = {{.dims = {3, 4}}, {.fixed = Tensor::of<int64_t>({3}, {1, 3, 4})}},
           .attrs = {{"time_axis", int64_t{1}}, {"batch_axis", int64_t{0}}}}};
}

// The slices along an axis (or all elements) without repetitions; where each was first, which one
// each slice is, how often each occurs.
void infer_unique(InferContext& ctx) {
  require_numeric(ctx);
  const ValueInfo& in = ctx.in(0);
  const bool flat = !ctx.attrs.has("axis");
  const auto axis =
      flat ? size_t{0}
           : static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis"), in.rank(), "axis"));
  const Expr all = flat ? element_count(in.shape) : in.shape[axis],
             found = data_extent(ctx, "unique", all);
  ctx.out().dtype = in.dtype;
  ctx.out().shape = flat ? Shape{found} : in.shape;
  if (!flat) ctx.out().shape[axis] = found;
  for (size_t i = 1; i < ctx.outputs.size(); ++i) {
    ctx.out(i).dtype = DType::i64;
    ctx.out(i).shape = {i == 2 ? all : found};
  }
}
void unique(RunContext& ctx) {
  const bool flat = !ctx.attrs.has("axis"), sorted = ctx.attrs.integer("sorted", 1) != 0;
  const Tensor in = flat ? ctx.in(0).reshaped({ctx.in(0).size()}) : ctx.in(0);
  const auto axis =
      flat ? size_t{0}
           : static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis"), in.rank(), "axis"));
  const Dims strides = row_major(in.dims());
  const int64_t n = in.dims()[axis], inner = strides[axis];
  const int64_t outer =
      element_count(Dims(in.dims().begin(), in.dims().begin() + static_cast<std::ptrdiff_t>(axis)));
  std::vector<int64_t> order(static_cast<size_t>(n)), first, inverse(order.size()), counts;
  with_type(in.dtype(), "Unique", [&](auto tag) {
    using T = decltype(tag);
    const T* x = in.data<T>();
    // -1, 0 or 1; NaN equals NaN and comes last.
    const auto compare = [&](int64_t a, int64_t b) {
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < inner; ++i) {
          const T p = x[(o * n + a) * inner + i], q = x[(o * n + b) * inner + i];
          if (p < q || (p == p && q != q)) return -1;
          if (q < p || (q == q && p != p)) return 1;
        }
      return 0;
    };
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return compare(a, b) < 0; });
    for (size_t i = 0; i < order.size(); ++i) {
      if (i == 0 || compare(order[i - 1], order[i]) != 0) {
        first.push_back(order[i]);
        counts.push_back(0);
      }
      ++counts.back();
      inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(first.size()) - 1;
    }
  });
  if (!sorted) {  // in the order of first occurrence
    std::vector<size_t> by_place(first.size()), rank(first.size());
    std::iota(by_place.begin(), by_place.end(), size_t{0});
    std::sort(by_place.begin(), by_place.end(),
              [&](size_t a, size_t b) { return first[a] < first[b]; });
    std::vector<int64_t> old_first = first, old_counts = counts;
    for (size_t i = 0; i < by_place.size(); ++i) {
      first[i] = old_first[by_place[i]];
      counts[i] = old_counts[by_place[i]];
      rank[by_place[i]] = i;
    }
    for (int64_t& i : inverse) i = static_cast<int64_t>(rank[static_cast<size_t>(i)]);
  }
  Dims dims = in.dims();
  dims[axis] = static_cast<int64_t>(first.size());
  ctx.out() = Tensor(in.dtype(), dims);
  with_cell(in.dtype(), "Unique", [&](auto tag) {
    using C = decltype(tag);
    C* to = mutable_cells<C>(ctx.out());
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i : first) to = std::copy_n(cells<C>(in) + (o * n + i) * inner, inner, to);
  });
  const std::vector<int64_t>* lists[] = {&first, &inverse, &counts};
  for (size_t i = 1; i < ctx.outputs.size(); ++i)
    ctx.out(i) = Tensor::of<int64_t>({static_cast<int64_t>(lists[i - 1]->size())}, *lists[i - 1]);
}
std::vector<Sample> unique_samples() {
  const SampleInput numbers{.dtype = DType::i64, .dims = {4, 5}, .low = 0, .high = 6},
      bits{.dims = {9, 2}, .low = 1, .high = 1};
  return {{.inputs = {numbers}, .outputs = 4},
          {.inputs = {numbers}, .attrs = {{"sorted", int64_t{0}}}, .outputs = 4},
          {.inputs = {bits}, .attrs = {{"axis", int64_t{0}}}, .outputs = 2}};
}
}  // namespace
extern const OpDef reverse_sequence_op{
    .name = "ReverseSequence",
    .domain = "",
    .version = 10,
    .attrs = {{"batch_axis", AttrKind::integer}, {"time_axis", AttrKind::integer}},
    .min_inputs = 2,
    .max_inputs = 2,
    .min_outputs = 1,
    .max_outputs = 1,
    .traits = {},
    .infer = infer_reverse,
    .reference = reverse,
    .samples = reverse_samples};
extern const OpDef unique_op{.name = "Unique",
                             .domain = "",
                             .version = 11,
                             .attrs = {{"axis", AttrKind::integer}, {"sorted", AttrKind::integer}},
                             .min_inputs = 1,
                             .max_inputs = 1,
                             .min_outputs = 1,
                             .max_outputs = 4,
                             .traits = {.discontinuous = true, .data_shape = true},
                             .infer = infer_unique,
                             .reference = unique,
                             .samples = unique_samples};
}  // namespace vitrail
