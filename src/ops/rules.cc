// SPDX-License-Identifier: Apache-2.0
#include "ops/rules.h"

#include <algorithm>

namespace vitrail {
namespace {
constexpr int64_t kLargestContent = 4096;
}

bool at_least(const InferContext& ctx, const Expr& e, int64_t least) {
  return e.bounds(ctx.ranges).low >= least;
}

void require_extent(const InferContext& ctx, const Expr& e, const char* what) {
  require(e.bounds(ctx.ranges).high >= 0, Code::bad_input, "{} would be {}, which is negative",
          what, e.str());
}

Expr unify(InferContext& ctx, const Expr& a, const Expr& b, const char* what) {
  if (a == b) return a;
  const Interval difference = (a - b).bounds(ctx.ranges);
  require(difference.low <= 0 && difference.high >= 0, Code::bad_input, "{}: {} and {} differ",
          what, a.str(), b.str());
  ctx.equalities.push_back({a, b});
  return b.is_constant() ? b : a;
}

Expr clamp_to_zero(const InferContext& ctx, const Expr& e) {
  return at_least(ctx, e, 0) ? e : max(e, 0);
}

Expr data_extent(const InferContext& ctx, const char* hint, const Expr& bound) {
  require(static_cast<bool>(ctx.data_symbol), Code::unsupported, "the extent '{}' depends on data",
          hint);
  return ctx.data_symbol(hint, bound);
}

void require_type_of_first(const InferContext& ctx, size_t i) {
  require(ctx.in(0).dtype == ctx.in(i).dtype, Code::bad_input, "input 0 is {} but input {} is {}",
          name_of(ctx.in(0).dtype), i, name_of(ctx.in(i).dtype));
}
void require_index_type(const InferContext& ctx, size_t i, const char* what) {
  const DType t = ctx.in(i).dtype;
  require(t == DType::i32 || t == DType::i64, Code::bad_input, "{} is {}, expected i32 or i64",
          what, name_of(t));
}

int64_t list_length(const InferContext& ctx, size_t i, const char* what) {
  const ValueInfo& in = ctx.in(i);
  require(is_integer(in.dtype), Code::bad_input, "{} is {}, expected integers", what,
          name_of(in.dtype));
  require(in.rank() <= 1, Code::bad_input, "{} has shape {}, expected a list", what,
          to_string(in.shape));
  if (in.rank() == 0) return 1;
  require(in.shape[0].is_constant(), Code::unsupported, "{} has a length {} that is not known",
          what, in.shape[0].str());
  return in.shape[0].constant();
}
std::optional<std::vector<Expr>> list_of(const InferContext& ctx, size_t i, const char* what) {
  list_length(ctx, i, what);
  return ctx.in(i).ints();
}
std::vector<int64_t> constant_list_of(const InferContext& ctx, size_t i, const char* what) {
  const auto list = list_of(ctx, i, what);
  require(list.has_value(), Code::unsupported,
          "{} must be known when the model is read, they are computed", what);
  std::vector<int64_t> out;
  for (const Expr& e : *list) {
    require(e.is_constant(), Code::unsupported, "{} must be constants, found {}", what, e.str());
    out.push_back(e.constant());
  }
  return out;
}

std::vector<int64_t> normalize_axes(const std::vector<int64_t>& axes, size_t rank,
                                    const char* what) {
  std::vector<int64_t> out;
  std::vector<bool> seen(rank, false);
  for (int64_t axis : axes) {
    axis = normalize_axis(axis, rank, what);
    require(!seen[static_cast<size_t>(axis)], Code::bad_input, "{} {} is given twice", what, axis);
    seen[static_cast<size_t>(axis)] = true;
    out.push_back(axis);
  }
  return out;
}
std::vector<int64_t> squeezed_axes(const Shape& shape) {
  std::vector<int64_t> axes;
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i].is(1)) axes.push_back(static_cast<int64_t>(i));
  return axes;
}

std::vector<ValueInfo> apply_rule(const RunContext& ctx,
                                  const std::function<void(InferContext&)>& rule) {
  InferContext infer{ctx.attrs, {}, std::vector<ValueInfo>(ctx.outputs.size()), {}, {}, {}, {}};
  std::vector<ValueInfo> infos(ctx.inputs.size());
  for (size_t i = 0; i < ctx.inputs.size(); ++i) {
    if (ctx.has(i)) infos[i] = {ctx.in(i).dtype(), to_shape(ctx.in(i).dims()), ctx.inputs[i], {}};
    infer.inputs.push_back(ctx.has(i) ? &infos[i] : nullptr);
  }
  for (ValueInfo& out : infer.outputs)
    if (ctx.has(0)) out.dtype = ctx.in(0).dtype();
  infer.data_symbol = [](const std::string& hint, const Expr&) { return Expr::symbol(hint); };
  rule(infer);
  return std::move(infer.outputs);
}
Dims dims_by_rule(const RunContext& ctx, InferRule rule, size_t i) {
  Dims dims = to_dims(apply_rule(ctx, rule).at(i).shape);
  element_count(dims);
  return dims;
}

void carry_content(InferContext& ctx, Reference reference, size_t carriers) {
  for (const ValueInfo& out : ctx.outputs) {
    if (out.dtype == DType::string || !is_static(out.shape)) return;
    if (element_count(out.shape).constant() > kLargestContent) return;
  }
  std::vector<Expr> elements;
  std::vector<Tensor> tensors(ctx.inputs.size());
  RunContext run{ctx.attrs, std::vector<const Tensor*>(ctx.inputs.size(), nullptr),
                 std::vector<Tensor>(ctx.outputs.size())};
  for (size_t i = 0; i < ctx.inputs.size(); ++i) {
    if (!ctx.has(i)) continue;
    run.inputs[i] = &tensors[i];
    if (i >= carriers && ctx.in(i).constant) {
      tensors[i] = *ctx.in(i).constant;
      continue;
    }
    const auto known = ctx.in(i).ints();
    if (!known || !is_static(ctx.in(i).shape)) return;
    tensors[i] = Tensor(DType::i64, to_dims(ctx.in(i).shape));
    if (tensors[i].size() != static_cast<int64_t>(known->size())) return;
    auto* to = tensors[i].mutable_data<int64_t>();
    for (const Expr& e : *known) {
      if (i >= carriers && !e.is_constant()) return;
      *to++ = i < carriers ? static_cast<int64_t>(elements.size()) : e.constant();
      if (i < carriers) elements.push_back(e);
    }
  }
  try {
    reference(run);
  } catch (const Error&) {
    return;  // an index out of range, say: an error only where the node runs
  }
  for (size_t o = 0; o < ctx.outputs.size(); ++o) {
    std::vector<Expr> moved;
    for (int64_t number : run.outputs[o].span<int64_t>())
      moved.push_back(elements.at(static_cast<size_t>(number)));
    ctx.outputs[o].content = std::move(moved);
  }
}

}  // namespace vitrail
