// SPDX-License-Identifier: Apache-2.0
// Reductions over any axes, and padding.
#include <algorithm>

#include "lower/families.h"

namespace vitrail {
namespace {
struct ReduceRow {
  const char* op;
  int64_t code;
};
// Codes of the family reduce (src/kernels/reduce/family.h).
constexpr ReduceRow kReduce[] = {
    {"ReduceSum", 0}, {"ReduceMean", 1}, {"GlobalAveragePool", 1}, {"ReduceMax", 2},
    {"ReduceMin", 3}, {"ReduceL2", 4},   {"ReduceSumSquare", 5},   {"ReduceProd", 6}};
}  // namespace

std::optional<Lowered> lower_reduce(const BodyReader& reader, std::string* why) {
  const ir::Node* node = nullptr;
  int64_t code = 0;
  for (const ReduceRow& row : kReduce)
    if (!node && (node = find_node(reader, row.op))) code = row.code;
  if (!node) return *why = "no reduction in the body", std::nullopt;
  const Shape& x = reader.value(node->inputs[0]).shape;
  if (!node->is("GlobalAveragePool") && node->attrs.integer("keepdims", 1) == 0)
    return *why = "keepdims 0 was not split off", std::nullopt;
  int64_t mask = 0;
  const bool has_axes = node->inputs.size() > 1 && node->inputs[1].valid();
  if (node->is("GlobalAveragePool")) {
    for (size_t i = 2; i < x.size(); ++i) mask |= int64_t{1} << i;
  } else if (has_axes) {
    const Tensor* axes = reader.constant(node->inputs[1]);
    if (!axes) return *why = "the axes are not constant", std::nullopt;
    for (int64_t i = 0; i < axes->size(); ++i)
      mask |= int64_t{1} << normalize_axis(axes->int_at(i), x.size(), "axis");
  }
  if (mask == 0) {
    if (has_axes || node->attrs.integer("noop_with_empty_axes", 0))
      return *why = "reduces nothing", std::nullopt;
    mask = (int64_t{1} << x.size()) - 1;
  }
  Lowered out;
  out.inputs.push_back(plain_operand(reader, node->inputs[0], -1));
  out.problem.ints["axes"] = mask;
  out.problem.ints["op"] = code;
  std::vector<int> axes;
  for (size_t i = 0; i < x.size(); ++i) axes.push_back(static_cast<int>(i));
  if (!lower_epilogue(reader, node->outputs[0], axes, -1, out, why)) return {};
  return out;
}

std::optional<Lowered> lower_pad(const BodyReader& reader, std::string* why) {
  const ir::Node* node = find_node(reader, "Pad");
  if (!node) return *why = "no Pad in the body", std::nullopt;
  const Shape& x = reader.value(node->inputs[0]).shape;
  static const char* const kModes[] = {"constant", "reflect", "edge", "wrap"};
  const std::string mode = node->attrs.text("mode", "constant");
  const auto found = std::find(std::begin(kModes), std::end(kModes), mode);
  if (found == std::end(kModes)) return *why = "mode " + mode, std::nullopt;
  const auto pads = reader.constant(node->inputs[1])
                        ? reader.constant(node->inputs[1])->to_ints("pads")
                        : std::vector<int64_t>{};
  // Before-pads must be numbers; what comes after follows from the extents, which may be symbolic.
  const auto symbolic = reader.value(node->inputs[1]).content;
  std::vector<int64_t> before(x.size(), 0);
  std::vector<int64_t> axes;
  if (node->inputs.size() > 3 && node->inputs[3].valid()) {
    if (!reader.constant(node->inputs[3])) return *why = "the axes are not constant", std::nullopt;
    axes = reader.constant(node->inputs[3])->to_ints("axes");
  } else {
    for (size_t i = 0; i < x.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = static_cast<size_t>(normalize_axis(axes[i], x.size(), "axis"));
    if (!pads.empty())
      before[axis] = pads[i];
    else if (symbolic && (*symbolic)[i].is_constant())
      before[axis] = (*symbolic)[i].constant();
    else
      return *why = "a pad before the data is not constant", std::nullopt;
    if (before[axis] < 0) return *why = "a negative pad", std::nullopt;
  }
  Lowered out;
  out.inputs.push_back(plain_operand(reader, node->inputs[0], -1));
  for (size_t i = 0; i < before.size(); ++i)
    out.problem.ints["before" + std::to_string(i)] = before[i];
  out.problem.ints["mode"] = found - std::begin(kModes);
  if (node->inputs.size() > 2 && node->inputs[2].valid()) {
    const Tensor* value = reader.constant(node->inputs[2]);
    if (!value) return *why = "the value is not constant", std::nullopt;
    out.problem.floats["value"] = value->number_at(0);
  }
  std::vector<int> order;
  for (size_t i = 0; i < x.size(); ++i) order.push_back(static_cast<int>(i));
  if (!lower_epilogue(reader, node->outputs[0], order, -1, out, why)) return {};
  return out;
}

}  // namespace vitrail
