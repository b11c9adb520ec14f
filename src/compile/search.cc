// SPDX-License-Identifier: Apache-2.0
#include "compile/search.h"

#include <algorithm>
#include <set>

#include "compile/alike.h"
#include "ir/storage.h"
#include "passes/forms.h"
#include "passes/pipeline.h"
#include "passes/single.h"

namespace vitrail {
namespace {

// A way to run a fusion: one of its bodies, as the kernel's or as separate nodes.
struct Form {
  size_t body = 0;
  bool separate = false;
  bool operator==(const Form&) const = default;
};

// Nodes that are alike, in the graph or in one body of an If or Loop.
struct Group {
  std::vector<size_t> path;  // node, body, node, body, ... from the graph down
  std::vector<ir::NodeId> nodes;
};

ir::Graph& graph_at(ir::Graph& graph, const std::vector<size_t>& path) {
  ir::Graph* at = &graph;
  for (size_t i = 0; i < path.size(); i += 2)
    at = at->node({static_cast<uint32_t>(path[i])}).bodies[path[i + 1]].get();
  return *at;
}

std::string describe(const ir::AxisOrder& order) {
  std::string out;
  for (int axis : order) out += fmt::format("{}{}", out.empty() ? "[" : ",", axis);
  return order.empty() ? "as it lies" : out + "]";
}

// Nodes that are steps of their own when they run separately: no views, and nothing that would ride
// in an epilogue.
size_t anchors(const ir::Graph& body) {
  size_t out = 0;
  for (ir::NodeId id : body.topological_order()) {
    const ir::Node& node = body.node(id);
    const char* family = node.is_fusion() ? node.family.c_str() : passes::single_family(body, node);
    out += !(family && std::string_view(family) == "pointwise") && !ir::is_view(body, node);
  }
  return out;
}

// An epilogue on a finished block costs less than reading it again: a fusion of one such node has
// no other form worth a try.
std::vector<Form> other_forms(const ir::Node& node) {
  std::vector<Form> out;
  const bool open = passes::offers_forms(node);
  for (size_t b = 0; b < node.bodies.size(); ++b) {
    if (b > 0) out.push_back({b, open});
    if (!open && anchors(*node.bodies[b]) > 1) out.push_back({b, true});
  }
  return out;
}

std::string describe(const Form& form, bool open) {
  if (open && form.body < 2) return form.body == 0 ? "the rewritten form" : "the model's own form";
  return fmt::format("{}{}", form.separate ? "separate steps" : "one kernel",
                     form.body == 0 ? "" : fmt::format(" of form {}", form.body + 1));
}

std::string describe(const Versus& v, const std::string& winner, const std::string& loser) {
  const double won = v.faster ? v.second_us : v.first_us,
               lost = v.faster ? v.first_us : v.second_us;
  return fmt::format("{}, {:.1f} us, not {}, {:.1f} us{}", winner, won, loser, lost,
                     v.why.empty() ? "" : " (" + v.why + ")");
}

// Steps of a plan that another does not have.
std::vector<std::string> extra_steps(const Plan& plan, const Plan& other) {
  std::set<std::pair<std::string, std::string>> known;
  for_each_step(other.steps, [&](const Step& s) { known.emplace(s.name, s.problem.str()); });
  std::vector<std::string> out;
  for_each_step(plan.steps, [&](const Step& s) {
    if (!known.contains({s.name, s.problem.str()})) out.push_back(s.name);
  });
  return out;
}

class Search {
 public:
  Search(ir::Graph graph, Built best, const SearchTools& tools)
      : graph_(std::move(graph)), best_(std::move(best)), tools_(tools) {}

  Built run() {
    while (const auto group = next_group()) decide(*group);
    decide_orders();
    if (unknown_ > 0)
      lines_.push_back(
          fmt::format("{} other forms and axis orders were not timed within the budget "
                      "or cannot be",
                      unknown_));
    std::move(lines_.begin(), lines_.end(), std::back_inserter(best_.lines));
    for_each_step(best_.plan.steps, [&](Step& step) {
      if (const auto notes = notes_.find(step.name); notes != notes_.end())
        step.trials.insert(step.trials.end(), notes->second.begin(), notes->second.end());
    });
    best_.taken_apart = std::move(taken_apart_);
    return std::move(best_);
  }

 private:
  // Makes the trial the best one when it is faster. `what`: the nodes or value; `now` and `then`:
  // the forms. `always`: tells the account also when it is not.
  bool wins(Built trial, const std::string& what, const std::string& now, const std::string& then,
            bool always) {
    const Versus v = tools_.compare(best_.plan, trial.plan);
    unknown_ += !v.known;
    if (!v.known || v.first_us + v.second_us == 0) return false;
    if (v.faster) std::swap(best_, trial);
    std::string told =
        fmt::format("{}: {}", what, describe(v, v.faster ? then : now, v.faster ? now : then));
    for (const std::string& step : extra_steps(best_.plan, trial.plan))
      notes_[step].push_back(told);
    if (v.faster || always) lines_.push_back(std::move(told));
    return v.faster;
  }

  // ------------------------------------------------------------------ forms
  // Open ones first: their bodies hold fusions that are decided on after them.
  std::optional<Group> next_group() {
    for (bool open : {true, false})
      if (auto group = group_in(graph_, {}, open)) return group;
    return {};
  }
  std::optional<Group> group_in(const ir::Graph& graph, const std::vector<size_t>& path,
                                bool open) {
    Group out{path, {}};
    for (ir::NodeId id : graph.topological_order()) {
      const ir::Node& node = graph.node(id);
      if (!node.is_fusion()) {
        for (size_t b = 0; b < node.bodies.size() && out.nodes.empty(); ++b) {
          std::vector<size_t> inner = path;
          inner.insert(inner.end(), {id.index, b});
          if (auto found = group_in(*node.bodies[b], inner, open)) return found;
        }
      } else if (passes::offers_forms(node) == open && !settled_.contains({path, id}) &&
                 (open || !other_forms(node).empty()) &&
                 (out.nodes.empty() || alike(graph, out.nodes[0], id))) {
        out.nodes.push_back(id);
      }
    }
    return out.nodes.empty() ? std::nullopt : std::optional(out);
  }

  ir::Graph with(const Group& group, const Form& form) const {
    ir::Graph out = graph_.clone();
    ir::Graph& at = graph_at(out, group.path);
    for (ir::NodeId id : group.nodes) {
      auto& bodies = at.node(id).bodies;
      if (passes::offers_forms(at.node(id)))
        ir::dissolve(at, id, form.body);
      else if (form.separate)
        passes::run_separately(at, id, form.body, tools_.disabled_passes);
      else
        std::rotate(bodies.begin(), bodies.begin() + static_cast<std::ptrdiff_t>(form.body),
                    bodies.end());
    }
    ir::verify(out, "choosing a form");
    return out;
  }

  void decide(const Group& group) {
    const ir::Node& node = graph_at(graph_, group.path).node(group.nodes[0]);
    const bool open = passes::offers_forms(node);
    std::string what = fmt::format("{} '{}'", node.family, printable(node.name));
    if (group.nodes.size() > 1) what += fmt::format(" and {} more", group.nodes.size() - 1);
    Form best{0, open};
    for (const Form& form : other_forms(node))
      if (wins(tools_.make(with(group, form), orders_), what, describe(best, open),
               describe(form, open), true))
        best = form;
    if (!best.separate)
      for (ir::NodeId id : group.nodes) settled_.insert({group.path, id});
    if (!(best == Form{0, open}))
      for (ir::NodeId id : group.nodes)
        for (const std::string& source : graph_at(graph_, group.path).node(id).sources)
          taken_apart_.insert(source);
    if (!(best == Form{})) graph_ = with(group, best);
  }

  // ------------------------------------------------------------------ axis orders
  void decide_orders() {
    std::map<std::string, std::vector<FreeOrder>> groups;
    for (const FreeOrder& free : best_.free) {
      std::string alike = fmt::format("{} {}", free.place, free.chosen);
      for (const ir::AxisOrder& order : free.orders) alike += " " + describe(order);
      groups[alike].push_back(free);
    }
    std::vector<const std::vector<FreeOrder>*> order;
    for (const auto& [alike, group] : groups) order.push_back(&group);
    const auto bytes = [](const std::vector<FreeOrder>* group) {
      return group->front().bytes * static_cast<double>(group->size());
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](const auto* a, const auto* b) { return bytes(a) > bytes(b); });
    // Each trial lays the model out anew: what the largest values gain pays for it.
    constexpr size_t kMostGroups = 16;
    if (order.size() > kMostGroups) order.resize(kMostGroups);
    for (const auto* group : order) decide(*group);
  }

  void decide(const std::vector<FreeOrder>& group) {
    const FreeOrder& one = group.front();
    std::string what = fmt::format("axis order of '{}'", printable(one.key));
    if (group.size() > 1) what += fmt::format(" and {} more", group.size() - 1);
    size_t best = one.chosen;
    for (size_t i = 0; i < one.orders.size(); ++i) {
      if (i == one.chosen) continue;
      AxisOrders orders = orders_;
      for (const FreeOrder& free : group) orders[free.key] = free.orders[i];
      if (!wins(tools_.make(graph_.clone(), orders), what, describe(one.orders[best]),
                describe(one.orders[i]), false))
        continue;
      orders_ = std::move(orders);
      best = i;
    }
  }

  ir::Graph graph_;
  Built best_;
  const SearchTools& tools_;
  AxisOrders orders_;
  std::set<std::pair<std::vector<size_t>, ir::NodeId>> settled_;
  std::vector<std::string> lines_;
  std::set<std::string> taken_apart_;
  std::map<std::string, std::vector<std::string>> notes_;  // by step
  size_t unknown_ = 0;
};

}  // namespace

Built search(ir::Graph graph, Built best, const SearchTools& tools) {
  return Search(std::move(graph), std::move(best), tools).run();
}

}  // namespace vitrail
