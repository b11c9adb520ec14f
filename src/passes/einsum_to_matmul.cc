// SPDX-License-Identifier: Apache-2.0
// Einsum("bhlk,bhtk->bhlt", q, k)   =>   MatMul(q, Transpose(k))
//
// Labels of a two-operand contraction fall into batch (a, b and result), rows (a and result),
// columns (b and result) and summed (a and b). With at most one label of each of the last three
// it is a matrix product between Transposes, most of which are views of strided memory. Near misses
// that must stay: diagonals, sums over one operand, a summed extent of 1 that repeats.
#include <algorithm>

#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

struct Equation {
  std::string a, b, out;
};

std::optional<Equation> parse(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  const size_t comma = text.find(','), arrow = text.find("->");
  if (comma == std::string::npos || arrow == std::string::npos ||
      text.find('.') != std::string::npos)
    return {};
  if (text.find(',', comma + 1) != std::string::npos) return {};
  Equation e{text.substr(0, comma), text.substr(comma + 1, arrow - comma - 1),
             text.substr(arrow + 2)};
  for (const std::string* s : {&e.a, &e.b, &e.out}) {  // a label twice is a diagonal
    std::string sorted = *s;
    std::sort(sorted.begin(), sorted.end());
    if (std::unique(sorted.begin(), sorted.end()) != sorted.end()) return {};
  }
  return e;
}

ir::ValueId permuted(ir::Graph& graph, ir::NodeId like, ir::ValueId v, const std::string& from,
                     const std::string& to) {
  if (from == to) return v;
  std::vector<int64_t> perm;
  for (char c : to) perm.push_back(static_cast<int64_t>(from.find(c)));
  return add_like(graph, like, "Transpose", {v}, {{"perm", perm}});
}

bool rewrite(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& node = graph.node(id);
  if (node.inputs.size() != 2) return false;
  const auto e = parse(node.attrs.text("equation"));
  if (!e) return false;
  std::string batch, rows, columns, summed;
  for (char c : e->a) {
    const bool in_b = e->b.find(c) != std::string::npos,
               in_out = e->out.find(c) != std::string::npos;
    if (!in_b && !in_out) return false;  // a sum over one operand alone
    (in_b && in_out ? batch : in_b ? summed : rows) += c;
  }
  for (char c : e->b) {
    if (e->a.find(c) != std::string::npos) continue;
    if (e->out.find(c) == std::string::npos) return false;
    columns += c;
  }
  if (rows.size() != 1 || columns.size() != 1 || summed.size() != 1 ||
      e->out.size() != batch.size() + 2)
    return false;
  const Expr &k_of_a = graph.value(node.inputs[0]).shape[e->a.find(summed)],
             &k_of_b = graph.value(node.inputs[1]).shape[e->b.find(summed)];
  if (!(k_of_a == k_of_b)) return false;
  std::string batch_order;  // as the result has them
  for (char c : e->out)
    if (batch.find(c) != std::string::npos) batch_order += c;
  const std::vector<ir::ValueId> in = node.inputs;
  const ir::ValueId out = node.outputs[0];
  const std::string out_labels = e->out, product = batch_order + rows + columns;
  const ir::ValueId a = permuted(graph, id, in[0], e->a, batch_order + rows + summed);
  const ir::ValueId b = permuted(graph, id, in[1], e->b, batch_order + summed + columns);
  if (product == out_labels) {
    replace_with(graph, out, "MatMul", {a, b}, {}, {id});
  } else {
    const ir::ValueId c = add_like(graph, id, "MatMul", {a, b});
    std::vector<int64_t> perm;
    for (char label : out_labels) perm.push_back(static_cast<int64_t>(product.find(label)));
    replace_with(graph, out, "Transpose", {c}, {{"perm", perm}}, {id});
  }
  graph.remove_node(id);
  return true;
}

}  // namespace

size_t einsum_to_matmul(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order())
    if (graph.node(id).is("Einsum")) changes += rewrite(graph, id);
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
