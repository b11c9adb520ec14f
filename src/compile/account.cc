// SPDX-License-Identifier: Apache-2.0
#include "compile/account.h"

#include <algorithm>
#include <set>

#include "ir/storage.h"

namespace vitrail {
namespace {

// Whether v reaches, through views, the left or right side of a product with another variable.
bool weighs_values(const ir::Graph& graph, const std::vector<std::vector<ir::NodeId>>& users,
                   ir::ValueId v, int depth = 0) {
  for (ir::NodeId id : users[v.index]) {
    const ir::Node& node = graph.node(id);
    if (node.is("MatMul") || node.is("Einsum")) {
      const auto varies = [&](ir::ValueId in) { return !graph.value(in).is_constant(); };
      if (node.inputs.size() == 2 && std::all_of(node.inputs.begin(), node.inputs.end(), varies))
        return true;
    } else if (depth < 4 && node.op &&
               (ir::is_view(graph, node) || node.is("Dropout") || node.is("Cast"))) {
      if (weighs_values(graph, users, node.outputs[0], depth + 1)) return true;
    }
  }
  return false;
}

void collect_attentions(const ir::Graph& graph, std::vector<std::string>& names) {
  const auto users = graph.users();
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (node.is("Softmax") && weighs_values(graph, users, node.outputs[0]))
      names.push_back(node.name);
    for (const auto& body : node.bodies) collect_attentions(*body, names);
  }
}

void collect_sources(const ir::Graph& graph, std::string_view family,
                     std::set<std::string>& sources) {
  for (ir::NodeId id : graph.topological_order()) {
    const ir::Node& node = graph.node(id);
    if (node.family == family) sources.insert(node.sources.begin(), node.sources.end());
    for (const auto& body : node.bodies) collect_sources(*body, family, sources);
  }
}

}  // namespace

std::vector<std::string> account_of_attentions(const ir::Graph& imported, const ir::Graph& planned,
                                               const std::set<std::string>& taken_apart) {
  std::vector<std::string> names;
  collect_attentions(imported, names);
  std::set<std::string> plain, spectral;
  collect_sources(planned, "attention", plain);
  collect_sources(planned, "gram", spectral);
  size_t plain_count = 0, spectral_count = 0, apart_count = 0;
  std::vector<std::string> missed;
  for (const std::string& name : names) {
    if (spectral.contains(name))
      ++spectral_count;
    else if (plain.contains(name))
      ++plain_count;
    else if (taken_apart.contains(name))
      ++apart_count;
    else
      missed.push_back(name);
  }
  std::vector<std::string> lines;
  if (plain_count + missed.size() > 0)
    lines.push_back(
        fmt::format("fused: {} of {} attentions", plain_count, plain_count + missed.size()));
  if (spectral_count > 0)
    lines.push_back(
        fmt::format("fused: {} of {} spectral attentions", spectral_count, spectral_count));
  if (apart_count > 0)
    lines.push_back(fmt::format(
        "not fused: {} attentions, which were timed and are faster in another form", apart_count));
  if (!missed.empty()) {
    constexpr size_t kShown = 4;
    std::string list;
    for (size_t i = 0; i < std::min(missed.size(), kShown); ++i)
      list += fmt::format("{}'{}'", i ? ", " : "", printable(missed[i]));
    if (missed.size() > kShown) list += fmt::format(" and {} more", missed.size() - kShown);
    lines.push_back(fmt::format(
        "not fused: the attention at {} because no pass knows its form or no kernel takes it",
        list));
  }
  return lines;
}

}  // namespace vitrail
