// SPDX-License-Identifier: Apache-2.0
#include "passes/forms.h"

#include <gtest/gtest.h>

#include <set>

#include "passes/pass_testing.h"

namespace vitrail::passes {
namespace {

// Both fusions, and both forms of the second, call a value t.
constexpr const char* kFusions = R"((x: f32[3]) -> (z) {
  y: f32[3] = fusion "first"(x) body (x: f32[3]) -> (y) {
    t = Relu(x)
    y = Neg(t)
  }
  z: f32[3] = fusion "second"(y) body (x: f32[3]) -> (y) {
    t = Sin(x)
    y = Neg(t)
  } body (x: f32[3]) -> (y) {
    t = Sin(x)
    y: f32[3] = fusion "third"(t) body (t: f32[3]) -> (y) {
      x = Abs(t)
      y = Neg(x)
    }
  }
})";

std::set<std::string> names_when_dissolved(std::vector<size_t> order, size_t body) {
  ir::Graph g = graph_of(kFusions);
  give_unique_names(g);
  ir::verify(g, "give_unique_names");
  const auto nodes = g.topological_order();
  for (size_t i : order) ir::dissolve(g, nodes[i], i == 1 ? body : 0);
  for (ir::NodeId id : g.topological_order())
    if (g.node(id).is_fusion()) ir::dissolve(g, id);
  std::set<std::string> out;
  for (ir::NodeId id : g.topological_order()) out.insert(g.value(g.node(id).outputs[0]).name);
  return out;
}

TEST(Forms, NamesDoNotDependOnWhatIsDissolvedWhen) {
  const auto first = names_when_dissolved({0, 1}, 0);
  EXPECT_EQ(first.size(), 4u);
  EXPECT_EQ(first, names_when_dissolved({1, 0}, 0));
  const auto other = names_when_dissolved({0, 1}, 1);
  EXPECT_EQ(other.size(), 5u);
  EXPECT_EQ(other, names_when_dissolved({1, 0}, 1));
  // What is the same value in both forms has one name.
  size_t shared = 0;
  for (const std::string& name : first) shared += other.contains(name);
  EXPECT_EQ(shared, 4u);
}

// q lies between and is read by m, too, which meets o again; n and w only come near.
TEST(Forms, ARegionIsConvexAndEndsInOneValue) {
  ir::Graph g = graph_of(R"((x: f32[4,4]) -> (z, w) {
    n = Tanh(x)
    p = Relu(x)
    q = MatMul(p, p)
    m = Softmax(q)
    o = MatMul(q, n)
    z = Add(o, m)
    w = Sin(n)
  })");
  const auto value = [&](const char* name) { return *g.find_value(name); };
  const auto region = region_between(g, value("p"), value("o"));
  std::set<std::string> names;
  for (ir::NodeId id : region) names.insert(g.value(g.node(id).outputs[0]).name);
  EXPECT_EQ(names, (std::set<std::string>{"q", "m", "o", "z"}));
  EXPECT_NO_THROW(ir::outline(g, region, "any"));
}

}  // namespace
}  // namespace vitrail::passes
