// SPDX-License-Identifier: Apache-2.0
#include "import/upgrade.h"

#include <limits>

namespace vitrail {

const ir::Value& Lift::in(size_t i) const {
  require(has(i), Code::bad_input, "input {} is missing", i);
  return graph.value(inputs[i]);
}
ir::ValueId Lift::input(size_t i) const {
  in(i);
  return inputs[i];
}
const Tensor* Lift::constant(size_t i) const {
  return has(i) && in(i).is_constant() ? &in(i).constant : nullptr;
}
void Lift::set_input(size_t i, ir::ValueId value) {
  if (inputs.size() <= i) inputs.resize(i + 1);
  inputs[i] = value;
}
ir::ValueId Lift::emit(std::string_view op_name, std::vector<ir::ValueId> ins, Attrs attributes) {
  const OpDef* def = find_op("", op_name);
  require(def != nullptr, Code::unsupported, "needs the op {}, which is not supported", op_name);
  const ir::NodeId id = graph.add_node(*def, std::move(ins), std::move(attributes),
                                       name + "/" + std::string(op_name));
  graph.node(id).sources = sources;
  return graph.node(id).outputs[0];
}
ir::ValueId Lift::add_constant(const std::string& suffix, Tensor tensor) {
  return graph.add_constant(name + "/" + suffix, std::move(tensor));
}
ir::ValueId Lift::add_ints(const std::string& suffix, const std::vector<int64_t>& values) {
  return add_constant(suffix, Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
}
void Lift::attr_to_input(const char* attribute, size_t i) {
  if (!attrs.has(attribute)) return;
  const auto* one = std::get_if<int64_t>(&attrs.all().find(attribute)->second);
  const std::vector<int64_t> values = one ? std::vector<int64_t>{*one} : attrs.integers(attribute);
  require(!has(i), Code::bad_input, "'{}' is given as attribute and as input", attribute);
  set_input(i, add_ints(attribute, values));
  attrs.erase(attribute);
}

namespace {
using ir::ValueId;

// A float scalar in the type of input 0.
Tensor scalar_like(const Lift& l, double value) {
  const DType dtype = l.in(0).dtype;
  if (dtype == DType::f64) return Tensor::scalar<double>(value);
  return Tensor::scalar<float>(static_cast<float>(value)).cast(dtype);
}

void axes_to_input(Lift& l) { l.attr_to_input("axes", 1); }

void slice(Lift& l) {
  l.attr_to_input("starts", 1);
  l.attr_to_input("ends", 2);
  l.attr_to_input("axes", 3);
}

void clip(Lift& l) {
  // Absent bounds are the lowest and highest float: no bounds.
  const char* const names[] = {"min", "max"};
  for (size_t i = 0; i < 2; ++i)
    if (l.attrs.has(names[i])) {
      l.set_input(1 + i, l.add_constant(names[i], scalar_like(l, l.attrs.number(names[i]))));
      l.attrs.erase(names[i]);
    }
}

void pad(Lift& l) {
  l.attr_to_input("pads", 1);
  if (l.attrs.has("value")) {
    const double value = l.attrs.number("value");
    l.attrs.erase("value");
    if (value != 0) l.set_input(2, l.add_constant("value", scalar_like(l, value)));
  }
}

void split(Lift& l) { l.attr_to_input("split", 1); }
// Opsets before 18 split evenly when no sizes are given.
void split_evenly(Lift& l) {
  if (!l.has(1)) l.attrs.set("num_outputs", static_cast<int64_t>(l.outputs_used.size()));
}

void top_k(Lift& l) { l.attr_to_input("k", 1); }

// Inference: Dropout is the identity and its mask is all true.
void dropout(Lift& l) {
  if (l.has(2)) {
    const Tensor* training = l.constant(2);
    require(training != nullptr && training->size() == 1 && training->int_at(0) == 0,
            Code::unsupported,
            "training mode is not supported; export the model in evaluation mode");
  }
  if (l.outputs_used.size() > 1 && l.outputs_used[1])
    l.bound[1] = l.emit("ConstantOfShape", {l.emit("Shape", {l.input(0)})},
                        {{"value", Tensor::of<bool>({1}, {true})}});
  l.op = "Identity";
  l.attrs = {};
  l.inputs = {l.input(0)};
  l.outputs_used.resize(1);
}

// Before opset 13: softmax over all axes from `axis` on, taken together.
// Softmax(x, axis)  =>  Reshape(Softmax(Flatten(x, axis), -1), Shape(x)), unless axis is the last.
void softmax(Lift& l) {
  const auto rank = static_cast<int64_t>(l.in(0).shape.size());
  int64_t axis = l.attrs.integer("axis", 1);
  require(axis >= -rank && axis < std::max<int64_t>(rank, 1), Code::bad_input,
          "axis {} is out of range for rank {}", axis, rank);
  if (axis < 0) axis += rank;
  l.attrs.set("axis", int64_t{-1});
  if (axis >= rank - 1) return;
  const ValueId x = l.inputs[0];
  bool single = true;  // axes behind the first that have extent 1 change nothing
  for (auto d = axis + 1; d < rank; ++d) single &= l.in(0).shape[static_cast<size_t>(d)].is(1);
  if (single) {
    l.attrs.set("axis", axis);
    return;
  }
  const ValueId flat = l.emit("Flatten", {x}, {{"axis", axis}});
  const ValueId result = l.emit(l.op, {flat}, l.attrs);
  l.op = "Reshape";
  l.attrs = {};
  l.inputs = {result, l.emit("Shape", {x})};
}

void batch_norm(Lift& l) {
  require(l.attrs.integer("training_mode", 0) == 0, Code::unsupported,
          "training mode is not supported; export the model in evaluation mode");
  // Before opset 14 four more outputs could be listed; only training fills them.
  for (size_t i = 1; i < l.outputs_used.size(); ++i)
    require(!l.outputs_used[i], Code::unsupported, "output {} exists in training mode only", i);
  l.outputs_used.resize(1);
  require(l.attrs.integer("spatial", 1) != 0, Code::unsupported, "spatial = 0 is not supported");
  for (const char* name : {"spatial", "training_mode", "momentum"}) l.attrs.erase(name);
}

// Upsample and Resize-10 place output i at i / scale.
void resize_from_scales(Lift& l) {
  const Tensor* scales = l.constant(1);
  const std::string mode = l.attrs.text("mode", "nearest");
  l.attrs.set("mode", mode == "bilinear" ? "linear" : mode);
  l.attrs.set("coordinate_transformation_mode", "asymmetric");
  if (mode == "nearest") {
    // Enlarging takes the element to the left, shrinking the one to the right.
    bool larger = false, smaller = false;
    for (int64_t i = 0; scales && i < scales->size(); ++i) {
      larger |= scales->number_at(i) > 1;
      smaller |= scales->number_at(i) < 1;
    }
    require(!(larger && smaller), Code::unsupported,
            "enlarges and shrinks at once in the form of opset 10; export the model with opset 11 "
            "or newer");
    if (!scales && l.op == "Resize")
      l.warnings.push_back("computed scales in the form of opset 10 are taken to enlarge");
    l.attrs.set("nearest_mode", smaller ? "ceil" : "floor");
  }
  l.op = "Resize";
  l.inputs = {l.input(0), ir::kNoValue, l.input(1)};
}

void upsample_scales(Lift& l) {
  const auto scales = l.attrs.numbers("scales");
  Tensor t(DType::f32, {static_cast<int64_t>(scales.size())});
  for (size_t i = 0; i < scales.size(); ++i)
    t.mutable_data<float>()[i] = static_cast<float>(scales[i]);
  l.set_input(1, l.add_constant("scales", std::move(t)));
  l.attrs.erase("scales");
}

// The axis of DFT became an input; its default changed from the first signal axis to the last but
// one.
void dft(Lift& l) {
  const int64_t axis = l.attrs.integer("axis", 1);
  l.attrs.erase("axis");
  l.set_input(2, l.add_constant("axis", Tensor::scalar<int64_t>(axis)));
}

void rename_scatter(Lift& l) { l.op = "ScatterElements"; }

// Opset 18 gave scale and bias one value a group; since 21 they have one a channel.
void group_norm(Lift& l) {
  const int64_t groups = l.attrs.integer("num_groups");
  require(groups > 0 && l.in(0).shape.size() > 1 && l.in(0).shape[1].is_constant() &&
              l.in(0).shape[1].constant() % groups == 0,
          Code::bad_input, "{} groups do not divide the channels of {}", groups,
          to_string(l.in(0).shape));
  const int64_t each = l.in(0).shape[1].constant() / groups;
  for (size_t i = 1; i <= 2; ++i) {
    const ValueId column = l.emit("Reshape", {l.input(i), l.add_ints("column", {groups, 1})});
    const ValueId wide = l.emit("Expand", {column, l.add_ints("wide", {groups, each})});
    l.inputs[i] = l.emit("Reshape", {wide, l.add_ints("channels", {groups * each})});
  }
}

// ---- ONNX Runtime's own domain, com.microsoft: what its optimizer writes into saved models.
void to_onnx(Lift& l, const char* op) {
  l.domain.clear();
  l.op = op;
}
void ms_gelu(Lift& l) { to_onnx(l, "Gelu"); }
void ms_bias_gelu(Lift& l) {
  l.inputs = {l.emit("Add", {l.input(0), l.input(1)})};
  to_onnx(l, "Gelu");
}
void ms_fast_gelu(Lift& l) {
  if (l.has(1)) l.inputs = {l.emit("Add", {l.inputs[0], l.inputs[1]})};
  to_onnx(l, "Gelu");
  l.attrs = {{"approximate", std::string("tanh")}};
}
void ms_quick_gelu(Lift& l) {
  if (!l.attrs.has("alpha")) l.attrs.set("alpha", 1.702);
  to_onnx(l, "Swish");
}
void ms_fused_matmul(Lift& l) {
  require(l.attrs.integer("transBatchA", 0) == 0 && l.attrs.integer("transBatchB", 0) == 0,
          Code::unsupported, "transBatchA and transBatchB are not supported");
  const char* const names[] = {"transA", "transB"};
  for (size_t i = 0; i < 2; ++i) {
    const auto rank = static_cast<int64_t>(l.in(i).shape.size());
    if (l.attrs.integer(names[i], 0) == 0 || rank < 2) continue;
    std::vector<int64_t> perm;
    for (int64_t d = 0; d < rank; ++d) perm.push_back(d < rank - 2 ? d : 2 * rank - 3 - d);
    l.inputs[i] = l.emit("Transpose", {l.inputs[i]}, {{"perm", perm}});
  }
  const double alpha = l.attrs.number("alpha", 1.0);
  if (alpha != 1)
    l.inputs[0] = l.emit("Mul", {l.inputs[0], l.add_constant("alpha", scalar_like(l, alpha))});
  l.attrs = {};
  to_onnx(l, "MatMul");
}
void ms_same(Lift& l) { l.domain.clear(); }

struct Rule {
  const char* domain;
  const char* op;
  int below;  ///< applies to models of an opset lower than this
  void (*lift)(Lift&);
};
constexpr int kAlways = std::numeric_limits<int>::max();

// Rules are tried from top to bottom, each on what the earlier ones made of the node.
const Rule kRules[] = {
    {"", "Squeeze", 13, axes_to_input},
    {"", "Unsqueeze", 13, axes_to_input},
    {"", "ReduceSum", 13, axes_to_input},
    {"", "ReduceL1", 18, axes_to_input},
    {"", "ReduceL2", 18, axes_to_input},
    {"", "ReduceLogSum", 18, axes_to_input},
    {"", "ReduceLogSumExp", 18, axes_to_input},
    {"", "ReduceMax", 18, axes_to_input},
    {"", "ReduceMean", 18, axes_to_input},
    {"", "ReduceMin", 18, axes_to_input},
    {"", "ReduceProd", 18, axes_to_input},
    {"", "ReduceSumSquare", 18, axes_to_input},
    {"", "Slice", 10, slice},
    {"", "Clip", 11, clip},
    {"", "Pad", 11, pad},
    {"", "Split", 13, split},
    {"", "Split", 18, split_evenly},
    {"", "TopK", 10, top_k},
    {"", "Dropout", kAlways, dropout},
    {"", "Softmax", 13, softmax},
    {"", "LogSoftmax", 13, softmax},
    {"", "Hardmax", 13, softmax},
    {"", "BatchNormalization", kAlways, batch_norm},
    {"", "Resize", 11, resize_from_scales},
    {"", "Upsample", 9, upsample_scales},
    {"", "Upsample", kAlways, resize_from_scales},
    {"", "DFT", 20, dft},
    {"", "Scatter", kAlways, rename_scatter},
    {"", "GroupNormalization", 21, group_norm},
    {"com.microsoft", "Gelu", kAlways, ms_gelu},
    {"com.microsoft", "BiasGelu", kAlways, ms_bias_gelu},
    {"com.microsoft", "FastGelu", kAlways, ms_fast_gelu},
    {"com.microsoft", "QuickGelu", kAlways, ms_quick_gelu},
    {"com.microsoft", "FusedMatMul", kAlways, ms_fused_matmul},
    {"com.microsoft", "QuantizeLinear", kAlways, ms_same},
    {"com.microsoft", "DequantizeLinear", kAlways, ms_same},
};

// Attributes some writers leave behind, or that concern types and modes this project does not have.
struct Neutral {
  const char* op;  ///< null: any op
  const char* attribute;
  std::optional<int64_t> only;  ///< the one value that means nothing; absent: every value
};
const Neutral kNeutral[] = {
    {nullptr, "consumed_inputs", {}},
    {nullptr, "saturate", {}},   // concerns float8 results
    {"Cast", "round_mode", {}},  // concerns float8e8m0 results
    {"LayerNormalization", "stash_type", 1},
    {"GroupNormalization", "stash_type", 1},
    {"RMSNormalization", "stash_type", 1},
    {"MaxPool", "storage_order", 0},
    {"Reshape", "allowzero", 0},
    {"Resize", "antialias", 0},
    {"Resize", "exclude_outside", 0},
    {"QuantizeLinear", "output_dtype", 0},
    {"QuantizeLinear", "block_size", 0},
    {"QuantizeLinear", "precision", 0},
    {"DequantizeLinear", "output_dtype", 0},
    {"DequantizeLinear", "block_size", 0},
};
}  // namespace

void upgrade(Lift& node, int64_t opset) {
  for (const Rule& rule : kRules)
    if (opset < rule.below && node.op == rule.op && node.domain == rule.domain) rule.lift(node);
}

bool has_upgrade(std::string_view domain, std::string_view op) {
  for (const Rule& rule : kRules)
    if (op == rule.op && domain == rule.domain) return true;
  return false;
}

void drop_neutral_attributes(const OpDef& op, Attrs& attrs) {
  std::vector<std::string> unknown;
  for (const auto& [name, value] : attrs.all()) {
    bool known = false;
    for (const AttrSpec& spec : op.attrs) known |= name == spec.name;
    if (!known) unknown.push_back(name);
  }
  for (const std::string& name : unknown) {
    const auto* value = std::get_if<int64_t>(&attrs.all().find(name)->second);
    bool neutral = false;
    for (const Neutral& row : kNeutral)
      neutral |= name == row.attribute && (!row.op || std::string_view(row.op) == op.name) &&
                 (!row.only || (value && *value == *row.only));
    require(neutral, Code::unsupported, "attribute '{}'{} is not supported", printable(name),
            value ? fmt::format(" = {}", *value) : "");
    attrs.erase(name);
  }
}

}  // namespace vitrail
