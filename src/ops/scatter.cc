// SPDX-License-Identifier: Apache-2.0
// ONNX ScatterND-18, ScatterElements-18, GatherND-13 and GatherElements-13: elements written to and
// read from places given by index. Indices are checked when the node runs.
#include <algorithm>

#include "ops/elementwise.h"
#include "ops/movement.h"
#include "ops/rules.h"

namespace vitrail {
namespace {
int64_t checked_index(int64_t index, int64_t extent, size_t axis) {
  require(-extent <= index && index < extent, Code::bad_input,
          "index {} is out of range for extent {} of axis {}", index, extent, axis);
  return index < 0 ? index + extent : index;
}
const int64_t* indices_of(const Tensor& t, Tensor& storage) {
  storage = t.cast(DType::i64);
  return storage.data<int64_t>();
}

enum class Combine { replace, add, mul, min, max };
Combine combine_of(const Attrs& attrs) {
  const std::string name = attrs.text("reduction", "none");
  if (name == "none") return Combine::replace;
  if (name == "add") return Combine::add;
  if (name == "mul") return Combine::mul;
  if (name == "min") return Combine::min;
  if (name == "max") return Combine::max;
  fail(Code::bad_input, "reduction '{}': expected none, add, mul, min or max", printable(name));
}
template <typename T>
T combine(Combine how, T old, T update) {
  switch (how) {
    case Combine::add:
      return wrapping(old, update, [](auto a, auto b) { return a + b; });
    case Combine::mul:
      return wrapping(old, update, [](auto a, auto b) { return a * b; });
    case Combine::min:
      return update < old ? update : old;
    case Combine::max:
      return old < update ? update : old;
    default:
      return update;
  }
}
// `data` with updates[i] combined into element place(i), for each i in turn.
template <typename Place>
Tensor scatter(const Tensor& data, const Tensor& updates, Combine how, const char* op,
               Place place) {
  Tensor out(data.dtype(), data.dims());
  if (data.bytes()) std::memcpy(out.mutable_raw(), data.raw(), data.bytes());
  if (how == Combine::replace) {
    with_cell(data.dtype(), op, [&](auto tag) {
      using C = decltype(tag);
      for (int64_t i = 0; i < updates.size(); ++i)
        mutable_cells<C>(out)[place(i)] = cells<C>(updates)[i];
    });
    return out;
  }
  with_type(data.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t i = 0; i < updates.size(); ++i) {
      T& to = out.mutable_data<T>()[place(i)];
      to = combine(how, to, updates.data<T>()[i]);
    }
  });
  return out;
}

// ---------------------------------------------------------------- ND
// The last axis of the indices holds a position in the axes `from`.. of the data.
int64_t depth_of(const ValueInfo& data, const ValueInfo& indices, size_t from) {
  require(indices.rank() >= 1 && data.rank() >= 1, Code::bad_input,
          "data {} and indices {} must not be scalars", to_string(data.shape),
          to_string(indices.shape));
  const Expr& depth = indices.shape.back();
  require(depth.is_constant(), Code::unsupported, "the last extent {} of the indices must be known",
          depth.str());
  require(depth.constant() >= 1 && depth.constant() <= static_cast<int64_t>(data.rank() - from),
          Code::bad_input, "indices of {} coordinates for data of shape {}", depth.constant(),
          to_string(data.shape));
  return depth.constant();
}
void infer_scatter_nd(InferContext& ctx) {
  const ValueInfo &data = ctx.in(0), &indices = ctx.in(1), &updates = ctx.in(2);
  combine_of(ctx.attrs);
  require_index_type(ctx, 1, "indices");
  require_type_of_first(ctx, 2);
  const int64_t depth = depth_of(data, indices, 0);
  Shape wanted(indices.shape.begin(), indices.shape.end() - 1);
  wanted.insert(wanted.end(), data.shape.begin() + depth, data.shape.end());
  require(wanted.size() == updates.rank(), Code::bad_input, "updates have shape {}, expected {}",
          to_string(updates.shape), to_string(wanted));
  for (size_t i = 0; i < wanted.size(); ++i)
    unify(ctx, updates.shape[i], wanted[i], "extents of updates");
  ctx.out().dtype = data.dtype;
  ctx.out().shape = data.shape;
}
void scatter_nd(RunContext& ctx) {
  apply_rule(ctx, infer_scatter_nd);
  const Tensor& data = ctx.in(0);
  Tensor storage;
  const int64_t* indices = indices_of(ctx.in(1), storage);
  const auto depth = static_cast<size_t>(ctx.in(1).dims().back());
  const Dims strides = row_major(data.dims());
  const int64_t slice = element_count(
      Dims(data.dims().begin() + static_cast<std::ptrdiff_t>(depth), data.dims().end()));
  ctx.out() = scatter(data, ctx.in(2), combine_of(ctx.attrs), "ScatterND", [&](int64_t i) {
    int64_t at = i % slice;
    for (size_t d = 0; d < depth; ++d)
      at += checked_index(indices[static_cast<size_t>(i / slice) * depth + d], data.dims()[d], d) *
            strides[d];
    return at;
  });
}
std::vector<Sample> scatter_nd_samples() {
  const SampleInput rows{.fixed = Tensor::of<int64_t>({3, 1}, {4, 0, -2})},
      cells{.fixed = Tensor::of<int64_t>({2, 2}, {1, -1, 1, 2})};
  return {{.inputs = {{.dims = {5, 3}}, rows, {.dims = {3, 3}}}},
          {.inputs = {{.dims = {5, 3}}, cells, {.dims = {2}}}, .attrs = {{"reduction", "add"}}},
          {.inputs = {{.dims = {5, 3}}, cells, {.dims = {2}}}, .attrs = {{"reduction", "mul"}}},
          {.inputs = {{.dims = {5, 3}}, cells, {.dims = {2}}}, .attrs = {{"reduction", "max"}}}};
}

void infer_gather_nd(InferContext& ctx) {
  const ValueInfo &data = ctx.in(0), &indices = ctx.in(1);
  require_index_type(ctx, 1, "indices");
  const int64_t batch = ctx.attrs.integer("batch_dims", 0);
  require(0 <= batch && batch < static_cast<int64_t>(std::min(data.rank(), indices.rank())),
          Code::bad_input, "batch_dims is {} for data {} and indices {}", batch,
          to_string(data.shape), to_string(indices.shape));
  const int64_t depth = depth_of(data, indices, static_cast<size_t>(batch));
  Shape& out = ctx.out().shape;
  out.assign(indices.shape.begin(), indices.shape.end() - 1);
  for (size_t i = 0; i < static_cast<size_t>(batch); ++i)
    out[i] = unify(ctx, data.shape[i], indices.shape[i], "batch extents");
  out.insert(out.end(), data.shape.begin() + batch + depth, data.shape.end());
  ctx.out().dtype = data.dtype;
}
void gather_nd(RunContext& ctx) {
  const Tensor& data = ctx.in(0);
  const Dims dims = dims_by_rule(ctx, infer_gather_nd), strides = row_major(data.dims()),
             &index_dims = ctx.in(1).dims();
  Tensor storage;
  const int64_t* indices = indices_of(ctx.in(1), storage);
  const auto batch = static_cast<size_t>(ctx.attrs.integer("batch_dims", 0)),
             depth = static_cast<size_t>(index_dims.back());
  const int64_t slice = element_count(
      Dims(data.dims().begin() + static_cast<std::ptrdiff_t>(batch + depth), data.dims().end()));
  const int64_t per_batch = element_count(
      Dims(index_dims.begin() + static_cast<std::ptrdiff_t>(batch), index_dims.end() - 1));
  const int64_t batch_stride = element_count(
      Dims(data.dims().begin() + static_cast<std::ptrdiff_t>(batch), data.dims().end()));
  ctx.out() = Tensor(data.dtype(), dims);
  with_cell(data.dtype(), "GatherND", [&](auto tag) {
    using C = decltype(tag);
    C* to = mutable_cells<C>(ctx.out());
    const int64_t tuples = ctx.out().size() == 0 ? 0 : ctx.out().size() / slice;
    for (int64_t t = 0; t < tuples; ++t) {
      int64_t at = t / per_batch * batch_stride;
      for (size_t d = 0; d < depth; ++d)
        at += checked_index(indices[static_cast<size_t>(t) * depth + d], data.dims()[batch + d],
                            batch + d) *
              strides[batch + d];
      to = std::copy_n(cells<C>(data) + at, slice, to);
    }
  });
}
std::vector<Sample> gather_nd_samples() {
  return {{.inputs = {{.dims = {5, 3, 2}},
                      {.fixed = Tensor::of<int64_t>({3, 2}, {4, 0, -1, 2, 0, -3})}}},
          {.inputs = {{.dims = {2, 5, 3}},
                      {.dtype = DType::i64, .dims = {2, 4, 1}, .low = -5, .high = 4}},
           .attrs = {{"batch_dims", int64_t{1}}}}};
}

// ---------------------------------------------------------------- elements
void infer_elements(InferContext& ctx) {
  const ValueInfo &data = ctx.in(0), &indices = ctx.in(1);
  const auto axis =
      static_cast<size_t>(normalize_axis(ctx.attrs.integer("axis", 0), data.rank(), "axis"));
  require_index_type(ctx, 1, "indices");
  require(indices.rank() == data.rank(), Code::bad_input,
          "data {} and indices {} have different ranks", to_string(data.shape),
          to_string(indices.shape));
  for (size_t d = 0; d < data.rank(); ++d)
    if (d != axis)
      require((data.shape[d] - indices.shape[d]).bounds(ctx.ranges).high >= 0, Code::bad_input,
              "indices {} reach beyond data {} along axis {}", to_string(indices.shape),
              to_string(data.shape), d);
  ctx.out().dtype = data.dtype;
}
// The element of data that index tuple i names.
class ElementPlace {
 public:
  ElementPlace(const Tensor& data, const Tensor& indices, const Attrs& attrs)
      : dims_(data.dims()),
        strides_(row_major(data.dims())),
        index_strides_(row_major(indices.dims())),
        axis_(static_cast<size_t>(normalize_axis(attrs.integer("axis", 0), data.rank(), "axis"))) {
    indices_ = indices_of(indices, storage_);
  }
  int64_t operator()(int64_t i) const {
    int64_t at = 0, rest = i;
    for (size_t d = 0; d < dims_.size(); ++d) {
      const int64_t coordinate =
          d == axis_ ? checked_index(indices_[i], dims_[d], d) : rest / index_strides_[d];
      rest %= index_strides_[d];
      at += coordinate * strides_[d];
    }
    return at;
  }

 private:
  Dims dims_, strides_, index_strides_;
  size_t axis_;
  Tensor storage_;
  const int64_t* indices_;
};
void infer_gather_elements(InferContext& ctx) {
  infer_elements(ctx);
  ctx.out().shape = ctx.in(1).shape;
}
void gather_elements(RunContext& ctx) {
  const Tensor& data = ctx.in(0);
  ctx.out() = Tensor(data.dtype(), dims_by_rule(ctx, infer_gather_elements));
  const ElementPlace place(data, ctx.in(1), ctx.attrs);
  with_cell(data.dtype(), "GatherElements", [&](auto tag) {
    using C = decltype(tag);
    for (int64_t i = 0; i < ctx.out().size(); ++i)
      mutable_cells<C>(ctx.out())[i] = cells<C>(data)[place(i)];
  });
}
std::vector<Sample> gather_elements_samples() {
  return {
      {.inputs = {{.dims = {5, 3}}, {.dtype = DType::i64, .dims = {4, 3}, .low = -5, .high = 4}}},
      {.inputs = {{.dims = {5, 3}}, {.dtype = DType::i32, .dims = {2, 7}, .low = 0, .high = 2}},
       .attrs = {{"axis", int64_t{-1}}}}};
}
void infer_scatter_elements(InferContext& ctx) {
  infer_elements(ctx);
  combine_of(ctx.attrs);
  require_type_of_first(ctx, 2);
  require(ctx.in(2).rank() == ctx.in(1).rank(), Code::bad_input,
          "updates {} and indices {} have different ranks", to_string(ctx.in(2).shape),
          to_string(ctx.in(1).shape));
  for (size_t d = 0; d < ctx.in(1).rank(); ++d)
    unify(ctx, ctx.in(2).shape[d], ctx.in(1).shape[d], "extents of updates and indices");
  ctx.out().shape = ctx.in(0).shape;
}
void scatter_elements(RunContext& ctx) {
  apply_rule(ctx, infer_scatter_elements);
  ctx.out() = scatter(ctx.in(0), ctx.in(2), combine_of(ctx.attrs), "ScatterElements",
                      ElementPlace(ctx.in(0), ctx.in(1), ctx.attrs));
}
std::vector<Sample> scatter_elements_samples() {
  const SampleInput indices{.fixed = Tensor::of<int64_t>({2, 3}, {4, 0, -2, 4, 1, 0})};
  return {
      {.inputs = {{.dims = {5, 3}}, indices, {.dims = {2, 3}}}},
      {.inputs = {{.dims = {3, 5}},
                  {.fixed = Tensor::of<int64_t>({1, 2}, {3, 3})},
                  {.dims = {1, 2}}},
       .attrs = {{"axis", int64_t{1}}, {"reduction", "add"}}},
      {.inputs = {{.dims = {5, 3}}, indices, {.dims = {2, 3}}}, .attrs = {{"reduction", "min"}}}};
}
}  // namespace
extern const OpDef scatter_nd_op{.name = "ScatterND",
                                 .domain = "",
                                 .version = 18,
                                 .attrs = {{"reduction", AttrKind::text}},
                                 .min_inputs = 3,
                                 .max_inputs = 3,
                                 .min_outputs = 1,
                                 .max_outputs = 1,
                                 .traits = {},
                                 .infer = infer_scatter_nd,
                                 .reference = scatter_nd,
                                 .samples = scatter_nd_samples};
extern const OpDef gather_nd_op{.name = "GatherND",
                                .domain = "",
                                .version = 13,
                                .attrs = {{"batch_dims", AttrKind::integer}},
                                .min_inputs = 2,
                                .max_inputs = 2,
                                .min_outputs = 1,
                                .max_outputs = 1,
                                .traits = {},
                                .infer = infer_gather_nd,
                                .reference = gather_nd,
                                .samples = gather_nd_samples};
extern const OpDef gather_elements_op{.name = "GatherElements",
                                      .domain = "",
                                      .version = 13,
                                      .attrs = {{"axis", AttrKind::integer}},
                                      .min_inputs = 2,
                                      .max_inputs = 2,
                                      .min_outputs = 1,
                                      .max_outputs = 1,
                                      .traits = {},
                                      .infer = infer_gather_elements,
                                      .reference = gather_elements,
                                      .samples = gather_elements_samples};
extern const OpDef scatter_elements_op{
    .name = "ScatterElements",
    .domain = "",
    .version = 18,
    .attrs = {{"axis", AttrKind::integer}, {"reduction", AttrKind::text}},
    .min_inputs = 3,
    .max_inputs = 3,
    .min_outputs = 1,
    .max_outputs = 1,
    .traits = {},
    .infer = infer_scatter_elements,
    .reference = scatter_elements,
    .samples = scatter_elements_samples};
}  // namespace vitrail
