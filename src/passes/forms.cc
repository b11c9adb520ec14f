// SPDX-License-Identifier: Apache-2.0
#include "passes/forms.h"

#include <algorithm>
#include <set>

#include "passes/match.h"
#include "passes/pipeline.h"
#include "passes/single.h"

namespace vitrail::passes {
namespace {

// MST++'s positional branch beside its attention takes 9 nodes.
constexpr size_t kMostGrown = 24;

class Region {
 public:
  Region(const ir::Graph& graph, ir::ValueId from, ir::ValueId to)
      : graph_(graph), order_(graph.topological_order()), users_(graph.users()) {
    std::set<ir::ValueId> below = {from};
    std::vector<ir::NodeId> reached;
    for (ir::NodeId id : order_) {
      const ir::Node& node = graph.node(id);
      if (std::none_of(node.inputs.begin(), node.inputs.end(),
                       [&](ir::ValueId in) { return below.contains(in); }))
        continue;
      reached.push_back(id);
      below.insert(node.outputs.begin(), node.outputs.end());
    }
    std::set<ir::ValueId> needed = {to};
    for (size_t i = reached.size(); i-- > 0;) {
      const ir::Node& node = graph.node(reached[i]);
      if (std::none_of(node.outputs.begin(), node.outputs.end(),
                       [&](ir::ValueId out) { return needed.contains(out); }))
        continue;
      members_.insert(reached[i]);
      needed.insert(node.inputs.begin(), node.inputs.end());
    }
  }

  void take_views_above(ir::ValueId v) {
    for (;;) {
      const ir::Node* up = graph_.producer(v);
      if (!up || !(is_reshape(*up) || up->is("Transpose")) || graph_.is_output(v)) return;
      for (ir::NodeId reader : users_[v.index])
        if (!members_.contains(reader)) return;
      members_.insert(graph_.value(v).producer);
      v = up->inputs[0];
    }
  }

  // The first reader in the order of execution depends on no other node below the members, so the
  // members stay convex.
  bool grow_to_one_output() {
    for (size_t grown = 0; outputs().size() > 1; ++grown) {
      const std::set<ir::ValueId> leaving = outputs();
      const auto next = std::find_if(order_.begin(), order_.end(), [&](ir::NodeId id) {
        return !members_.contains(id) && reads(id, leaving);
      });
      if (next == order_.end() || grown == kMostGrown || !graph_.node(*next).op ||
          graph_.node(*next).op->traits.control)
        return false;
      members_.insert(*next);
    }
    return true;
  }
  // What fuse_epilogue would join to a node inside.
  void take_elementwise_below() {
    const Matcher match(graph_);
    for (bool taken = true; std::exchange(taken, false);)
      for (ir::ValueId leaving : outputs()) {
        const ir::NodeId next = match.only_reader(leaving);
        const char* family = next.valid() ? single_family(graph_, graph_.node(next)) : nullptr;
        if (!family || std::string_view(family) != "pointwise" ||
            graph_.value(graph_.node(next).outputs[0]).shape != graph_.value(leaving).shape ||
            depends_through_others(next))
          continue;
        members_.insert(next);
        taken = true;
        break;
      }
  }

  std::vector<ir::NodeId> members() const { return {members_.begin(), members_.end()}; }

 private:
  // Whether a way leads from a member to the node over nodes that are none.
  bool depends_through_others(ir::NodeId id) const {
    std::set<ir::NodeId> seen;
    std::vector<ir::NodeId> work = {id};
    while (!work.empty()) {
      const ir::NodeId at = work.back();
      work.pop_back();
      for (ir::ValueId in : graph_.node(at).inputs) {
        if (!in.valid() || !graph_.producer(in)) continue;
        const ir::NodeId up = graph_.value(in).producer;
        if (members_.contains(up)) {
          if (at != id) return true;
        } else if (seen.insert(up).second) {
          work.push_back(up);
        }
      }
    }
    return false;
  }
  bool reads(ir::NodeId id, const std::set<ir::ValueId>& values) const {
    const auto& in = graph_.node(id).inputs;
    return std::any_of(in.begin(), in.end(), [&](ir::ValueId v) { return values.contains(v); });
  }
  std::set<ir::ValueId> outputs() const {
    std::set<ir::ValueId> out;
    for (ir::NodeId id : members_)
      for (ir::ValueId v : graph_.node(id).outputs)
        if (v.valid() && (graph_.is_output(v) ||
                          std::any_of(users_[v.index].begin(), users_[v.index].end(),
                                      [&](ir::NodeId r) { return !members_.contains(r); })))
          out.insert(v);
    return out;
  }

  const ir::Graph& graph_;
  std::vector<ir::NodeId> order_;
  std::vector<std::vector<ir::NodeId>> users_;
  std::set<ir::NodeId> members_;
};

// Constants that the fusion reads become the body's own.
void take_constants(const ir::Graph& graph, ir::Node& fusion) {
  ir::Graph& body = *fusion.bodies[0];
  std::vector<ir::ValueId> outer, inner;
  for (size_t i = 0; i < fusion.inputs.size(); ++i) {
    const ir::Value& value = graph.value(fusion.inputs[i]);
    if (value.is_constant()) {
      body.value(body.inputs[i]).constant = value.constant;
    } else {
      outer.push_back(fusion.inputs[i]);
      inner.push_back(body.inputs[i]);
    }
  }
  fusion.inputs = std::move(outer);
  body.inputs = std::move(inner);
}

using Names = std::set<std::string, std::less<>>;

// Returns the names taken, `taken` included.
Names rename_inside(ir::Graph& graph, const std::string& path, const Names& taken) {
  Names all = taken;
  for (ir::NodeId id : graph.topological_order()) {
    ir::Node& node = graph.node(id);
    if (!node.is_fusion()) continue;
    const std::string inner = path + node.name + "/";
    const Names around = all;  // what one form calls its values, another may, too
    for (auto& body : node.bodies) {
      Names here = around;
      std::set<ir::ValueId> outer(body->inputs.begin(), body->inputs.end());
      outer.insert(body->outputs.begin(), body->outputs.end());
      for (uint32_t v = 0; v < body->value_count(); ++v) {
        if (outer.contains({v}) || (!body->value({v}).is_constant() && !body->producer({v})))
          continue;
        const std::string& name = body->value({v}).name;
        here.insert(around.contains(name) ? body->rename_value({v}, inner + name) : name);
      }
      here = rename_inside(*body, inner, here);
      all.insert(here.begin(), here.end());
    }
  }
  return all;
}

}  // namespace

void give_unique_names(ir::Graph& graph) {
  Names taken;
  for (uint32_t v = 0; v < graph.value_count(); ++v) taken.insert(graph.value({v}).name);
  rename_inside(graph, "", taken);
}

bool offers_forms(const ir::Node& node) { return node.is_fusion() && find_pass(node.family); }

std::vector<ir::NodeId> region_between(const ir::Graph& graph, ir::ValueId from, ir::ValueId to) {
  Region region(graph, from, to);
  region.take_views_above(from);
  Region grown = region;
  Region& best = grown.grow_to_one_output() ? grown : region;
  best.take_elementwise_below();
  return best.members();
}

void offer_form(ir::Graph& graph, const std::vector<ir::NodeId>& members, std::string_view pass,
                const std::function<void(ir::Graph&)>& rewrite) {
  ir::Node& fusion = graph.node(ir::outline(graph, members, std::string(pass)));
  take_constants(graph, fusion);
  auto rewritten = std::make_unique<ir::Graph>(fusion.bodies[0]->clone());
  rewrite(*rewritten);
  rewritten->remove_dead();
  fusion.bodies.insert(fusion.bodies.begin(), std::move(rewritten));
}

}  // namespace vitrail::passes
