// SPDX-License-Identifier: Apache-2.0
// Elementwise nodes as a pointwise program, alone or as the epilogue of another family.
#include <algorithm>
#include <map>

#include "lower/families.h"

namespace vitrail {
namespace {

// The scalar a constant stands for, when it has one element.
std::optional<float> scalar_of(const Tensor* constant) {
  if (!constant || constant->size() != 1 || constant->dtype() != DType::f32) return {};
  return static_cast<float>(constant->number_at(0));
}

class Program {
 public:
  Program(const BodyReader& reader, ir::ValueId anchor, const std::vector<int>& out_axes,
          int innermost, Lowered& lowered)
      : reader_(reader),
        anchor_(anchor),
        out_axes_(out_axes),
        innermost_(innermost),
        lowered_(lowered) {
    out_shape_ = reader.value(reader.body.outputs[0]).shape;
    if (anchor.valid()) registers_[anchor] = next_input_++;
  }

  bool build(std::string* why) {
    // Without an anchor register 0 is the first operand itself (src/kernels/pointwise/family.h).
    lowered_.problem.epilogue_inputs =
        anchor_.valid() ? static_cast<int>(lowered_.inputs.size()) : 1;
    // Operands first: registers of inputs come before those of instructions.
    for (const ir::Node* node : reader_.nodes)
      if (in_program(*node)) {
        if (!node->op->traits.pointwise && !special(*node))
          return *why = fmt::format("{} is no pointwise instruction", node->type()), false;
        for (ir::ValueId in : node->inputs)
          if (in.valid() && !operand(*node, in, why)) return false;
      }
    PointwiseProgram& program = lowered_.problem.epilogue;
    program.inputs = next_input_;
    for (const ir::Node* node : reader_.nodes)
      if (in_program(*node)) emit(*node, program);
    program.results.clear();
    for (ir::ValueId out : reader_.body.outputs) {
      if (reader_.value(out).shape != out_shape_)
        return *why = "results of different shapes", false;
      if (reader_.value(out).dtype != DType::f32)
        return *why = fmt::format("result type {}", name_of(reader_.value(out).dtype)), false;
      program.results.push_back(static_cast<int16_t>(registers_.at(out)));
    }
    outputs();
    return true;
  }

 private:
  // Nodes that only feed the anchor were read by the family; the rest depends on the anchor.
  bool in_program(const ir::Node& node) const {
    return node.outputs[0] != anchor_ && (!anchor_.valid() || after_anchor(node));
  }
  bool after_anchor(const ir::Node& node) const {
    for (ir::ValueId in : node.inputs) {
      if (!in.valid()) continue;
      if (in == anchor_) return true;
      const ir::Node* producer = reader_.body.producer(in);
      if (producer && after_anchor(*producer)) return true;
    }
    return false;
  }
  static bool special(const ir::Node& node) {
    return node.is("Clip") || node.is("Gelu") || node.is("Swish") || node.is("LeakyRelu") ||
           node.is("Identity");
  }

  bool operand(const ir::Node& node, ir::ValueId in, std::string* why) {
    const ir::Node* producer = reader_.body.producer(in);
    if (registers_.contains(in) || (producer && in_program(*producer))) return true;
    const ir::Value& value = reader_.value(in);
    if (value.dtype != DType::f32)
      return *why = fmt::format("{} reads {}", node.type(), name_of(value.dtype)), false;
    if (scalar_of(reader_.constant(in))) return true;  // becomes an immediate
    const int io = reader_.input_index(in);
    if (io < 0) return *why = "a body constant that is no scalar", false;
    // Aligned with the result from the right, then in the problem's axis order.
    const size_t rank = out_shape_.size(), skip = rank - value.shape.size();
    if (value.shape.size() > rank) return *why = "an operand of higher rank than the result", false;
    LoweredOperand operand{.io = io, .axes = {}, .dims = {}};
    for (int axis : out_axes_) {
      const auto a = static_cast<size_t>(axis);
      const bool absent =
          axis < 0 || a < skip || (value.shape[a - skip].is(1) && !out_shape_[a].is(1));
      operand.axes.push_back(absent ? -1 : static_cast<int>(a - skip));
      operand.dims.push_back(axis < 0 ? Expr(1) : out_shape_[a]);
    }
    lowered_.inputs.push_back(std::move(operand));
    registers_[in] = next_input_++;
    return true;
  }

  int16_t push(PointwiseProgram& program, PointwiseInstr instr) {
    program.code.push_back(instr);
    return static_cast<int16_t>(program.inputs + static_cast<int>(program.code.size()) - 1);
  }
  int16_t reg(PointwiseProgram& program, ir::ValueId in) {
    const auto found = registers_.find(in);
    if (found != registers_.end()) return static_cast<int16_t>(found->second);
    const int16_t r = push(program, {Pointwise::constant, 0, 0, *scalar_of(reader_.constant(in))});
    registers_[in] = r;
    return r;
  }

  void emit(const ir::Node& node, PointwiseProgram& program) {
    const auto in = [&](size_t i) { return reg(program, node.inputs[i]); };
    const auto has = [&](size_t i) { return i < node.inputs.size() && node.inputs[i].valid(); };
    int16_t r;
    if (node.is("Identity")) {
      r = in(0);
    } else if (node.is("Gelu")) {
      r = push(program, {node.attrs.text("approximate", "none") == "tanh" ? Pointwise::gelu_tanh
                                                                          : Pointwise::gelu,
                         in(0), 0, 0});
    } else if (node.is("Swish")) {
      r = push(program,
               {Pointwise::swish, in(0), 0, static_cast<float>(node.attrs.number("alpha", 1.0))});
    } else if (node.is("LeakyRelu")) {
      r = push(program, {Pointwise::leaky_relu, in(0), 0,
                         static_cast<float>(node.attrs.number("alpha", 0.01))});
    } else if (node.is("Clip")) {
      r = in(0);
      if (has(1)) r = push(program, {Pointwise::max, r, in(1), 0});
      if (has(2)) r = push(program, {Pointwise::min, r, in(2), 0});
    } else {
      const Pointwise op = *node.op->traits.pointwise;
      r = in(0);
      if (arity_of(op) == 1) {
        r = push(program, {op, r, 0, 0});
      } else {
        for (size_t i = 1; i < node.inputs.size();
             ++i) {  // variadic Sum, Min, Max fold from the left
          const int16_t second = in(i);
          r = push(program, {op, r, second, 0});
        }
      }
    }
    registers_[node.outputs[0]] = r;
  }

  void outputs() {
    for (size_t i = 0; i < reader_.body.outputs.size(); ++i) {
      LoweredOperand out{
          .io = static_cast<int>(i), .axes = out_axes_, .dims = {}, .innermost = innermost_};
      for (int axis : out_axes_)
        out.dims.push_back(axis < 0 ? Expr(1) : out_shape_[static_cast<size_t>(axis)]);
      lowered_.outputs.push_back(std::move(out));
    }
  }

  const BodyReader& reader_;
  ir::ValueId anchor_;
  const std::vector<int>& out_axes_;
  int innermost_;
  Lowered& lowered_;
  Shape out_shape_;
  std::map<ir::ValueId, int> registers_;
  int next_input_ = 0;
};

}  // namespace

bool lower_epilogue(const BodyReader& reader, ir::ValueId anchor, const std::vector<int>& out_axes,
                    int innermost, Lowered& lowered, std::string* why) {
  return Program(reader, anchor, out_axes, innermost, lowered).build(why);
}

std::optional<Lowered> lower_pointwise(const BodyReader& reader, std::string* why) {
  Lowered out;
  std::vector<int> axes;
  const size_t rank = reader.value(reader.body.outputs[0]).shape.size();
  for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int>(i));
  if (!lower_epilogue(reader, ir::kNoValue, axes, -1, out, why)) return {};
  return out;
}

}  // namespace vitrail
