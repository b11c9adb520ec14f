// SPDX-License-Identifier: Apache-2.0
#include "import/downgrade.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "import/op_history.h"

namespace vitrail {
namespace {

/// A rule at work: short names for what rules do.
struct Lowering {
  Drafter& to;
  Draft& node;

  [[noreturn]] void cannot(const std::string& why) const {
    fail(Code::unsupported, "cannot be written for opset {}: {}", to.opset, why);
  }
  bool has(size_t i) const { return i < node.inputs.size() && !node.inputs[i].empty(); }
  const ValueInfo& in(size_t i) const {
    const ValueInfo* info = has(i) ? to.info(node.inputs[i]) : nullptr;
    if (!info) cannot("the type of input " + std::to_string(i) + " is not known");
    return *info;
  }
  std::vector<int64_t> ints(size_t i, const char* what) const {
    const Tensor* t = in(i).constant;
    if (!t) cannot(std::string(what) + " is computed and must be constant");
    return t->to_ints(what);
  }
  void drop_inputs(size_t from) { node.inputs.resize(std::min(node.inputs.size(), from)); }
  std::string emit(const std::string& op, std::vector<std::string> inputs, Attrs attrs = {}) {
    std::string out = to.fresh_name(node.name + "/" + op);
    downgrade(to, {op, "", out, std::move(attrs), std::move(inputs), {out}});
    return out;
  }
  /// The last node, which gives the output.
  void finish(const std::string& op, std::vector<std::string> inputs, Attrs attrs = {}) {
    node.op = op;
    node.inputs = std::move(inputs);
    node.attrs = std::move(attrs);
  }
  std::string number(const char* what, double value, size_t like = 0) {
    const DType dtype = in(like).dtype;
    Tensor t = dtype == DType::f64 ? Tensor::scalar<double>(value)
                                   : Tensor::scalar<float>(static_cast<float>(value)).cast(dtype);
    return to.constant(node.name + "/" + what, std::move(t));
  }
  std::string list(const char* what, const std::vector<int64_t>& values) {
    return to.constant(node.name + "/" + what,
                       Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
  }
};
using Rule = void (*)(Lowering&);

void swish(Lowering& l) {
  const double alpha = l.node.attrs.number("alpha", 1.0);
  const std::string x = l.node.inputs[0];
  const std::string scaled = alpha == 1 ? x : l.emit("Mul", {x, l.number("alpha", alpha)});
  l.finish("Mul", {x, l.emit("Sigmoid", {scaled})});
}

// 0.5 x (1 + erf(x / sqrt 2)), or with tanh as in ONNX's definition of Gelu.
void gelu(Lowering& l) {
  const std::string x = l.node.inputs[0];
  std::string inner;
  if (l.node.attrs.text("approximate", "none") == "tanh") {
    const std::string cube = l.emit("Mul", {l.emit("Mul", {x, x}), x});
    const std::string sum = l.emit("Add", {x, l.emit("Mul", {cube, l.number("c3", 0.044715)})});
    inner = l.emit("Tanh", {l.emit("Mul", {sum, l.number("c1", 0.7978845608028654)})});
  } else {
    inner = l.emit("Erf", {l.emit("Div", {x, l.number("sqrt2", 1.4142135623730951)})});
  }
  const std::string gate = l.emit("Add", {inner, l.number("one", 1)});
  l.finish("Mul", {l.emit("Mul", {x, gate}), l.number("half", 0.5)});
}

void mish(Lowering& l) {
  const std::string x = l.node.inputs[0];
  l.finish("Mul", {x, l.emit("Tanh", {l.emit("Softplus", {x})})});
}
void hard_swish(Lowering& l) {
  const std::string x = l.node.inputs[0];
  l.finish("Mul", {x, l.emit("HardSigmoid", {x}, {{"alpha", 1.0 / 6}, {"beta", 0.5}})});
}

// Mean and variance over the last axes, as ONNX defines LayerNormalization in terms of older ops.
void layer_norm(Lowering& l) {
  if (l.node.outputs.size() > 1) l.cannot("it has more than one output");
  const auto rank = static_cast<int64_t>(l.in(0).rank());
  int64_t axis = l.node.attrs.integer("axis", -1);
  if (axis < 0) axis += rank;
  std::vector<int64_t> axes(static_cast<size_t>(rank - axis));
  std::iota(axes.begin(), axes.end(), axis);
  const bool centred = l.node.op == "LayerNormalization";
  const auto mean = [&](const std::string& v) {
    return l.emit("ReduceMean", {v, l.list("axes", axes)}, {{"keepdims", int64_t{1}}});
  };
  const std::string x = l.node.inputs[0];
  const std::string d = centred ? l.emit("Sub", {x, mean(x)}) : x;
  const std::string variance = mean(l.emit("Mul", {d, d}));
  const std::string deviation = l.emit(
      "Sqrt",
      {l.emit("Add", {variance, l.number("epsilon", l.node.attrs.number("epsilon", 1e-5))})});
  const std::string normal = l.emit("Div", {d, deviation});
  if (!l.has(2)) return l.finish("Mul", {normal, l.node.inputs[1]});
  l.finish("Add", {l.emit("Mul", {normal, l.node.inputs[1]}), l.node.inputs[2]});
}

// Groups become the channels of an InstanceNormalization.
void group_norm(Lowering& l) {
  const int64_t groups = l.node.attrs.integer("num_groups");
  const double epsilon = l.node.attrs.number("epsilon", 1e-5);
  const DType dtype = l.in(0).dtype;
  const size_t rank = l.in(0).rank();
  const auto filled = [&](const char* what, float value) {
    return l.to.constant(
        l.node.name + "/" + what,
        Tensor::of<float>({groups}, std::vector<float>(static_cast<size_t>(groups), value))
            .cast(dtype));
  };
  const std::string x = l.node.inputs[0];
  const std::string grouped = l.emit("Reshape", {x, l.list("groups", {0, groups, -1})});
  const std::string normal =
      l.emit("InstanceNormalization", {grouped, filled("ones", 1), filled("zeros", 0)},
             {{"epsilon", epsilon}});
  const std::string back = l.emit("Reshape", {normal, l.emit("Shape", {x})});
  std::vector<int64_t> column(rank - 1, 1);
  column[0] = -1;
  const std::string scale = l.emit("Reshape", {l.node.inputs[1], l.list("column", column)});
  const std::string bias = l.emit("Reshape", {l.node.inputs[2], l.list("column", column)});
  l.finish("Add", {l.emit("Mul", {back, scale}), bias});
}

// input 1 (axes, constant) -> attribute
void axes_to_attr(Lowering& l) {
  if (l.has(1)) {
    const auto axes = l.ints(1, "axes");
    if (!axes.empty())
      l.node.attrs.set("axes", axes);
    else if (l.node.op == "Squeeze" || l.node.op == "Unsqueeze")
      return l.finish("Identity", {l.node.inputs[0]});
  }
  l.drop_inputs(1);
}
void reduce(Lowering& l) {
  const bool none = !l.has(1) || (l.in(1).constant && l.in(1).constant->size() == 0);
  const bool noop = l.node.attrs.integer("noop_with_empty_axes", 0) != 0;
  l.node.attrs.erase("noop_with_empty_axes");
  if (none && noop) l.cannot("noop_with_empty_axes");
  axes_to_attr(l);
}

void split_sizes(Lowering& l) {
  const int64_t parts =
      l.node.attrs.integer("num_outputs", static_cast<int64_t>(l.node.outputs.size()));
  l.node.attrs.erase("num_outputs");
  if (l.has(1)) return;
  // Older forms split evenly by themselves; a smaller last part has to be spelled out.
  const int64_t axis = l.node.attrs.integer("axis", 0);
  const Shape& shape = l.in(0).shape;
  const Expr& extent =
      shape.at(static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(shape.size()) : axis));
  if (mod(extent, parts).is(0)) return;
  if (!extent.is_constant()) l.cannot("an extent that may not divide evenly");
  std::vector<int64_t> sizes;
  const int64_t each = (extent.constant() + parts - 1) / parts;
  for (int64_t left = extent.constant(); static_cast<int64_t>(sizes.size()) < parts; left -= each)
    sizes.push_back(std::clamp<int64_t>(left, 0, each));
  l.node.inputs = {l.node.inputs[0], l.list("split", sizes)};
}
void split_attr(Lowering& l) {
  if (l.has(1)) l.node.attrs.set("split", l.ints(1, "split"));
  l.drop_inputs(1);
}

// Before opset 13 softmax ran over all axes from `axis` on: the axis is moved to the end.
void softmax(Lowering& l) {
  const auto rank = static_cast<int64_t>(l.in(0).rank());
  int64_t axis = l.node.attrs.integer("axis", -1);
  if (axis < 0) axis += rank;
  if (axis == rank - 1) {
    l.node.attrs.set("axis", axis);
    return;
  }
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[static_cast<size_t>(axis)], perm.back());
  const std::string out = l.to.fresh_name(l.node.name + "/" + l.node.op);
  const std::string turned = l.emit("Transpose", {l.node.inputs[0]}, {{"perm", perm}});
  // Written as it is: this form is the old one already.
  l.to.write({l.node.op, "", out, {{"axis", rank - 1}}, {turned}, {out}});
  l.finish("Transpose", {out}, {{"perm", perm}});
}

void clip(Lowering& l) {
  const char* const names[] = {"min", "max"};
  for (size_t i = 0; i < 2; ++i)
    if (l.has(1 + i)) {
      const Tensor* bound = l.in(1 + i).constant;
      if (!bound || bound->size() != 1) l.cannot("a computed bound");
      l.node.attrs.set(names[i], bound->number_at(0));
    }
  l.drop_inputs(1);
}

void pad_axes(Lowering& l) {
  if (!l.has(3)) return l.drop_inputs(3);
  const auto rank = static_cast<int64_t>(l.in(0).rank());
  const auto axes = l.ints(3, "axes");
  const auto pads = l.ints(1, "pads");
  std::vector<int64_t> all(static_cast<size_t>(2 * rank), 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<size_t>(axes[i] < 0 ? axes[i] + rank : axes[i]);
    all.at(axis) = pads.at(i);
    all.at(axis + static_cast<size_t>(rank)) = pads.at(i + axes.size());
  }
  l.node.inputs[1] = l.list("pads", all);
  l.drop_inputs(l.has(2) ? 3 : 2);
}
void pad_attrs(Lowering& l) {
  l.node.attrs.set("pads", l.ints(1, "pads"));
  if (l.has(2)) {
    const Tensor* value = l.in(2).constant;
    if (!value || value->size() != 1) l.cannot("a computed value");
    l.node.attrs.set("value", value->number_at(0));
  }
  l.drop_inputs(1);
}

void slice(Lowering& l) {
  if (l.has(4))
    for (int64_t step : l.ints(4, "steps"))
      if (step != 1) l.cannot("a step of " + std::to_string(step));
  l.node.attrs.set("starts", l.ints(1, "starts"));
  l.node.attrs.set("ends", l.ints(2, "ends"));
  if (l.has(3)) l.node.attrs.set("axes", l.ints(3, "axes"));
  l.drop_inputs(1);
}

void top_k(Lowering& l) {
  const auto k = l.ints(1, "k");
  l.node.attrs.set("k", k.at(0));
  l.drop_inputs(1);
}

// Opsets 11 and 12 want roi and scales present, empty where sizes or nothing is meant.
void resize_inputs(Lowering& l) {
  if (l.to.opset < 11) l.cannot("where the samples lie can be said since opset 11");
  const auto empty = [&](const char* what) {
    return l.to.constant(l.node.name + "/" + what, Tensor(DType::f32, {0}));
  };
  l.node.inputs.resize(std::max<size_t>(l.node.inputs.size(), 3));
  if (!l.has(1)) l.node.inputs[1] = empty("roi");
  if (!l.has(2)) l.node.inputs[2] = empty("scales");
}

void shape_range(Lowering& l) {
  const int64_t start = l.node.attrs.integer("start", 0),
                end = l.node.attrs.integer("end", std::numeric_limits<int64_t>::max());
  if (start == 0 && end == std::numeric_limits<int64_t>::max()) {
    l.node.attrs = {};
    return;
  }
  const std::string all = l.emit("Shape", {l.node.inputs[0]});
  l.finish("Slice", {all, l.list("start", {start}), l.list("end", {end}), l.list("axes", {0})});
}

void dropout(Lowering& l) {
  if (l.node.outputs.size() > 1 && !l.node.outputs[1].empty()) l.cannot("the mask is used");
  l.node.outputs.resize(1);
  l.finish("Identity", {l.node.inputs[0]});
}
void gemm_bias(Lowering& l) {
  if (l.has(2)) return;
  l.drop_inputs(2);
  l.node.inputs.push_back(l.number("zero", 0));
}
void negated(Lowering& l) {
  const char* const strict = l.node.op == "GreaterOrEqual" ? "Less" : "Greater";
  l.finish("Not", {l.emit(strict, l.node.inputs)});
}
void cast_like(Lowering& l) {
  l.finish("Cast", {l.node.inputs[0]}, {{"to", onnx_number_of(l.in(1).dtype)}});
}
void scatter(Lowering& l) { l.node.op = "Scatter"; }
void grid_sample(Lowering& l) {
  const std::string mode = l.node.attrs.text("mode", "linear");
  l.node.attrs.set("mode", mode == "linear" ? "bilinear" : mode == "cubic" ? "bicubic" : mode);
}
void same_shapes(Lowering& l) {
  for (size_t i = 1; i < l.node.inputs.size(); ++i)
    if (l.in(i).shape != l.in(0).shape) l.cannot("broadcasting inputs");
}
void batch_norm(Lowering& l) { l.node.attrs.erase("training_mode"); }

// allowzero says that a 0 in the target is an extent; it says nothing where there is none.
void reshape(Lowering& l) {
  if (l.node.attrs.integer("allowzero", 0) == 0) return;
  const auto target = l.in(1).ints();
  const bool no_zero = target && std::all_of(target->begin(), target->end(), [&](const Expr& e) {
                         return e.is_constant() ? !e.is(0) : e.bounds(l.to.ranges).low > 0;
                       });
  if (no_zero) l.node.attrs.erase("allowzero");
}

// Values as plain attributes became possible late; a tensor always was.
void constant(Lowering& l) {
  Tensor value;
  for (const auto& [name, given] : l.node.attrs.all()) {
    if (const auto* t = std::get_if<Tensor>(&given)) value = *t;
    if (const auto* i = std::get_if<int64_t>(&given)) value = Tensor::scalar<int64_t>(*i);
    if (const auto* f = std::get_if<double>(&given))
      value = Tensor::scalar<float>(static_cast<float>(*f));
    if (const auto* is = std::get_if<std::vector<int64_t>>(&given))
      value = Tensor::of<int64_t>({static_cast<int64_t>(is->size())}, *is);
    if (const auto* fs = std::get_if<std::vector<double>>(&given))
      value = Tensor::of<float>({static_cast<int64_t>(fs->size())},
                                std::vector<float>(fs->begin(), fs->end()));
  }
  if (!value.defined()) l.cannot("a constant of strings");
  l.node.attrs = {{"value", value}};
}

// Before opset 11 axes could not count from the end.
void positive_axes(Lowering& l) {
  auto rank = static_cast<int64_t>(l.in(0).rank());
  if (l.node.attrs.has("axis")) {
    const int64_t axis = l.node.attrs.integer("axis");
    if (axis < 0) l.node.attrs.set("axis", axis + rank);
  }
  if (l.node.attrs.has("axes")) {
    auto axes = l.node.attrs.integers("axes");
    if (l.node.op == "Unsqueeze") rank += static_cast<int64_t>(axes.size());
    for (int64_t& axis : axes)
      if (axis < 0) axis += rank;
    l.node.attrs.set("axes", axes);
  }
}

struct Row {
  const char* op;
  int below;
  Rule lower;
};
// Newest first: each rule takes what the ones above have left.
const Row kRows[] = {
    {"Swish", 24, swish},
    {"RMSNormalization", 23, layer_norm},
    {"GroupNormalization", 21, group_norm},
    {"Gelu", 20, gelu},
    {"GridSample", 20, grid_sample},
    {"Mish", 18, mish},
    {"ReduceL1", 18, reduce},
    {"ReduceL2", 18, reduce},
    {"ReduceLogSum", 18, reduce},
    {"ReduceLogSumExp", 18, reduce},
    {"ReduceMax", 18, reduce},
    {"ReduceMean", 18, reduce},
    {"ReduceMin", 18, reduce},
    {"ReduceProd", 18, reduce},
    {"ReduceSumSquare", 18, reduce},
    {"Split", 18, split_sizes},
    {"Pad", 18, pad_axes},
    {"LayerNormalization", 17, layer_norm},
    {"CastLike", 15, cast_like},
    {"Shape", 15, shape_range},
    {"BatchNormalization", 14, batch_norm},
    {"HardSwish", 14, hard_swish},
    {"Reshape", 14, reshape},
    {"ReduceSum", 13, reduce},
    {"Squeeze", 13, axes_to_attr},
    {"Unsqueeze", 13, axes_to_attr},
    {"Split", 13, split_attr},
    {"Softmax", 13, softmax},
    {"LogSoftmax", 13, softmax},
    {"Hardmax", 13, softmax},
    {"Resize", 13, resize_inputs},
    {"Constant", 12, constant},
    {"Dropout", 12, dropout},
    {"GreaterOrEqual", 12, negated},
    {"LessOrEqual", 12, negated},
    {"Clip", 11, clip},
    {"Pad", 11, pad_attrs},
    {"Gemm", 11, gemm_bias},
    {"ScatterElements", 11, scatter},
    {"Slice", 10, slice},
    {"TopK", 10, top_k},
    {"Max", 8, same_shapes},
    {"Min", 8, same_shapes},
    {"Mean", 8, same_shapes},
    {"Sum", 8, same_shapes},
};

// Ops that took only floats (or, Equal, no floats) at first, by the opset that let the others in.
struct LaterTypes {
  const char* op;
  bool floats;
  int since;
};
constexpr LaterTypes kLaterTypes[] = {
    {"Clip", false, 12}, {"Equal", true, 11},  {"Gemm", false, 9}, {"Greater", false, 9},
    {"Less", false, 9},  {"MatMul", false, 9}, {"Max", false, 12}, {"Min", false, 12},
    {"Pow", false, 12},  {"Relu", false, 14},
};

void check_types(const Drafter& to, const Draft& node) {
  const ValueInfo* first = node.inputs.empty() ? nullptr : to.info(node.inputs[0]);
  if (!first) return;
  for (const LaterTypes& row : kLaterTypes)
    require(node.op != row.op || to.opset >= row.since || is_float(first->dtype) != row.floats,
            Code::unsupported, "cannot be written for opset {}: it takes {} since opset {}",
            to.opset, name_of(first->dtype), row.since);
}

// Attributes by the opset that brought them, with the value that says nothing new.
struct NewAttribute {
  const char* op;
  const char* attribute;
  int since;
  int64_t neutral;
};
constexpr int64_t kAny = INT64_MIN;  // concerns types this project does not have
constexpr NewAttribute kNewAttributes[] = {
    {"ArgMax", "select_last_index", 12, 0},
    {"ArgMin", "select_last_index", 12, 0},
    {"AveragePool", "dilations", 19, 1},
    {"AveragePool", "ceil_mode", 10, 0},
    {"Cast", "saturate", 19, kAny},
    {"CastLike", "saturate", 19, kAny},
    {"Cast", "round_mode", 24, kAny},
    {"CastLike", "round_mode", 24, kAny},
    {"DequantizeLinear", "axis", 13, 1},
    {"DequantizeLinear", "block_size", 21, 0},
    {"DequantizeLinear", "output_dtype", 23, 0},
    {"GatherND", "batch_dims", 12, 0},
    {"LayerNormalization", "stash_type", 17, 1},
    {"MaxPool", "ceil_mode", 10, 0},
    {"MaxPool", "dilations", 10, 1},
    {"MaxPool", "storage_order", 8, 0},
    {"QuantizeLinear", "axis", 13, 1},
    {"QuantizeLinear", "block_size", 21, 0},
    {"QuantizeLinear", "output_dtype", 21, 0},
    {"QuantizeLinear", "precision", 23, 0},
    {"QuantizeLinear", "saturate", 19, kAny},
    {"Reshape", "allowzero", 14, 0},
    {"Resize", "antialias", 18, 0},
    {"TopK", "largest", 11, 1},
    {"TopK", "sorted", 11, 1},
};

void drop_new_attributes(const Drafter& to, Draft& node) {
  for (const NewAttribute& row : kNewAttributes) {
    if (node.op != row.op || to.opset >= row.since) continue;
    const auto found = node.attrs.all().find(row.attribute);
    if (found == node.attrs.all().end()) continue;
    bool neutral = row.neutral == kAny;
    if (const auto* one = std::get_if<int64_t>(&found->second)) neutral |= *one == row.neutral;
    if (const auto* many = std::get_if<std::vector<int64_t>>(&found->second))
      neutral =
          std::all_of(many->begin(), many->end(), [&](int64_t v) { return v == row.neutral; });
    // A scale of one element has no axis.
    if (std::string_view(row.attribute) == "axis" && node.inputs.size() > 1) {
      const ValueInfo* scale = to.info(node.inputs[1]);
      neutral |= scale && scale->rank() == 0;
    }
    require(neutral, Code::unsupported,
            "cannot be written for opset {}: attribute '{}' exists since opset {}", to.opset,
            row.attribute, row.since);
    node.attrs.erase(row.attribute);
  }
}
}  // namespace

void downgrade(Drafter& drafter, Draft node) {
  with_context("node '" + printable(node.name) + "' (" + node.op + ")", [&] {
    for (const Row& row : kRows) {
      if (node.op != row.op || drafter.opset >= row.below) continue;
      Lowering lowering{drafter, node};
      row.lower(lowering);
    }
    drop_new_attributes(drafter, node);
    check_types(drafter, node);
    if (drafter.opset < 11 && (node.attrs.has("axis") || node.attrs.has("axes"))) {
      Lowering lowering{drafter, node};
      positive_axes(lowering);
    }
    const int since = onnx_op_since(node.op);
    require(since > 0 && since <= drafter.opset, Code::unsupported,
            "cannot be written for opset {}: the op exists since opset {}", drafter.opset, since);
  });
  drafter.write(std::move(node));
}

}  // namespace vitrail
