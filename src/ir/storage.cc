// SPDX-License-Identifier: Apache-2.0
#include "ir/storage.h"

#include <algorithm>

namespace vitrail::ir {

AxisOrder natural_order(size_t rank) {
  AxisOrder out;
  for (size_t i = 0; i < rank; ++i) out.push_back(static_cast<int>(i));
  return out;
}

Shape dense_strides(const Shape& shape, const AxisOrder& order) {
  Shape out(shape.size());
  Expr stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    const auto axis = static_cast<size_t>(order[i]);
    out[axis] = stride;
    stride *= shape[axis];
  }
  return out;
}

bool is_row_major(const Shape& shape, const Shape& strides) {
  Expr stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (!shape[i].is(1) && !(strides[i] == stride)) return false;
    stride *= shape[i];
  }
  return true;
}

std::optional<Shape> reshape_strides(const Shape& from, const Shape& strides, const Shape& to) {
  if (is_row_major(from, strides)) return row_major(to);  // whatever the extents are
  // Extents of 1 carry no elements: leave them out, put them back at the end.
  std::vector<size_t> in, out;
  for (size_t i = 0; i < from.size(); ++i)
    if (!from[i].is(1)) in.push_back(i);
  for (size_t j = 0; j < to.size(); ++j)
    if (!to[j].is(1)) out.push_back(j);
  const auto products = [](const Shape& shape, const std::vector<size_t>& axes, size_t first) {
    std::vector<Expr> list;
    for (size_t p = first; p < axes.size(); ++p)
      list.push_back((list.empty() ? Expr(1) : list.back()) * shape[axes[p]]);
    return list;
  };
  Shape result(to.size());
  size_t i = 0, j = 0;
  while (i < in.size() && j < out.size()) {
    // The shortest runs on both sides with equal products.
    const size_t i0 = i, j0 = j;
    const std::vector<Expr> left = products(from, in, i0), right = products(to, out, j0);
    const auto run = [&] {
      for (i = i0; i < in.size(); ++i)
        for (j = j0; j < out.size(); ++j)
          if (left[i - i0] == right[j - j0]) return true;
      return false;
    };
    if (!run())
      i = in.size() - 1, j = out.size() - 1;  // equal by what a Reshape is, though not proved
    ++i, ++j;
    for (size_t p = i0; p + 1 < i; ++p)  // the run must be one dense piece on the input side
      if (!(strides[in[p]] == strides[in[p + 1]] * from[in[p + 1]])) return {};
    Expr stride = strides[in[i - 1]];
    for (size_t p = j; p-- > j0;) {
      result[out[p]] = stride;
      stride *= to[out[p]];
    }
  }
  if (i != in.size() || j != out.size()) return {};
  Expr stride = 1;
  for (size_t p = to.size(); p-- > 0;) {
    if (to[p].is(1)) result[p] = stride;
    stride = result[p] * to[p];
  }
  return result;
}

namespace {

bool is_reshape(const Node& node) {
  return node.is("Reshape") || node.is("Flatten") || node.is("Squeeze") || node.is("Unsqueeze") ||
         node.is("Identity");
}

AxisOrder transpose_order(const Graph& graph, const Node& node) {
  const size_t rank = graph.value(node.inputs[0]).rank();
  AxisOrder reversed(rank);
  for (size_t i = 0; i < rank; ++i) reversed[i] = static_cast<int>(rank - 1 - i);
  if (!node.attrs.has("perm")) return reversed;
  AxisOrder out;
  for (int64_t p : node.attrs.integers("perm"))
    out.push_back(static_cast<int>(normalize_axis(p, rank, "perm")));
  return out;
}

// start and step of each sliced axis, known and with positive steps.
struct SlicedAxis {
  size_t axis;
  Expr start, step;
};
std::optional<std::vector<SlicedAxis>> slice_axes(const Graph& graph, const Node& node) {
  const Shape& x = graph.value(node.inputs[0]).shape;
  const auto list = [&](size_t i) -> std::optional<std::vector<Expr>> {
    return i < node.inputs.size() && node.inputs[i].valid() ? graph.ints(node.inputs[i])
                                                            : std::nullopt;
  };
  const auto starts = list(1);
  if (!starts) return {};
  const auto axes = list(3), steps = list(4);
  if ((node.inputs.size() > 3 && node.inputs[3].valid() && !axes) ||
      (node.inputs.size() > 4 && node.inputs[4].valid() && !steps))
    return {};
  std::vector<SlicedAxis> out;
  const Ranges ranges = graph.symbol_ranges();
  for (size_t i = 0; i < starts->size(); ++i) {
    if (axes && !(*axes)[i].is_constant()) return {};
    const size_t axis =
        axes ? static_cast<size_t>(normalize_axis((*axes)[i].constant(), x.size(), "axis")) : i;
    const Expr step = steps ? (*steps)[i] : Expr(1);
    if (!step.is_constant() || step.constant() <= 0) return {};
    Expr start = (*starts)[i];
    if (start.bounds(ranges).high < 0) start = start + x[axis];
    const Interval s = start.bounds(ranges), room = (x[axis] - start).bounds(ranges);
    if (s.low < 0 || room.low < 0) return {};  // clamping would be needed
    out.push_back({axis, start, step});
  }
  return out;
}

std::optional<Expr> gathered_index(const Graph& graph, const Node& node) {
  const Value& index = graph.value(node.inputs[1]);
  if (index.rank() != 0) return {};
  const auto ints = graph.ints(node.inputs[1]);
  if (!ints || !(*ints)[0].is_constant()) return {};
  const Shape& x = graph.value(node.inputs[0]).shape;
  const auto axis =
      static_cast<size_t>(normalize_axis(node.attrs.integer("axis", 0), x.size(), "axis"));
  const int64_t i = (*ints)[0].constant();
  return i < 0 ? x[axis] + Expr(i) : Expr(i);
}

}  // namespace

bool is_view(const Graph& graph, const Node& node) {
  if (node.is_fusion() || node.op->domain[0]) return false;
  if (node.is("Transpose")) return true;
  // Extents that only the data give are known when the node has run, as a step.
  if (is_reshape(node) || node.is("Split") || node.is("Expand"))
    return node.inputs.size() < 2 || !node.inputs[1].valid() ||
           graph.ints(node.inputs[1]).has_value();
  if (node.is("Slice")) return slice_axes(graph, node).has_value();
  if (node.is("Gather")) return gathered_index(graph, node).has_value();
  return false;
}

std::optional<Storage> view_storage(const Graph& graph, const Node& node, size_t index,
                                    const Storage& input) {
  const Shape &from = graph.value(node.inputs[0]).shape,
              &to = graph.value(node.outputs[index]).shape;
  Storage out = input;
  if (is_reshape(node)) {
    const auto strides = reshape_strides(from, input.strides, to);
    if (!strides) return {};
    out.strides = *strides;
  } else if (node.is("Transpose")) {
    const AxisOrder order = transpose_order(graph, node);
    for (size_t i = 0; i < order.size(); ++i)
      out.strides[i] = input.strides[static_cast<size_t>(order[i])];
  } else if (node.is("Expand")) {
    const size_t skip = to.size() - from.size();
    out.strides.assign(to.size(), 0);
    for (size_t i = 0; i < from.size(); ++i)
      if (!from[i].is(1) || to[skip + i].is(1)) out.strides[skip + i] = input.strides[i];
  } else if (node.is("Slice")) {
    const auto slices = slice_axes(graph, node);
    require(slices.has_value(), Code::internal, "'{}' is no view", node.name);
    for (const SlicedAxis& s : *slices) {
      out.offset += s.start * input.strides[s.axis];
      out.strides[s.axis] = input.strides[s.axis] * s.step;
    }
  } else if (node.is("Split")) {
    const auto axis =
        static_cast<size_t>(normalize_axis(node.attrs.integer("axis", 0), from.size(), "axis"));
    for (size_t i = 0; i < index; ++i)
      out.offset += graph.value(node.outputs[i]).shape[axis] * input.strides[axis];
  } else {  // Gather of one index
    const auto axis =
        static_cast<size_t>(normalize_axis(node.attrs.integer("axis", 0), from.size(), "axis"));
    out.offset += *gathered_index(graph, node) * input.strides[axis];
    out.strides.erase(out.strides.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  return out;
}

std::optional<Storage> inverse_view(const Graph& graph, const Node& node, const Storage& output) {
  if (node.is_fusion() || node.op->domain[0]) return {};
  const Shape &from = graph.value(node.inputs[0]).shape, &to = graph.value(node.outputs[0]).shape;
  Storage in = output;
  if (is_reshape(node)) {
    const auto strides = reshape_strides(to, output.strides, from);
    if (!strides) return {};
    in.strides = *strides;
    return in;
  }
  if (node.is("Transpose")) {
    const AxisOrder order = transpose_order(graph, node);
    for (size_t i = 0; i < order.size(); ++i)
      in.strides[static_cast<size_t>(order[i])] = output.strides[i];
    return in;
  }
  return {};
}

}  // namespace vitrail::ir
