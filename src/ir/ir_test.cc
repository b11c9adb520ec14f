// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "ir/graph.h"
#include "ir/storage.h"
#include "ir/text.h"

namespace vitrail::ir {
namespace {

constexpr const char* kText = R"(graph "toy" (x: f32[N,8], y: f32[N,8]) -> (c) {
  meta "vitrail.task" "none"
  symbol N input 1..32
  const w: f32[8] = {1, -2.5, 0.1, 3, 4, 5, 6, 1e-05}
  a: f32[N,8] = Add(x, w) @"first"
  b: f32[N,8] = fusion "pointwise"(a, y) @"second" from ["s0", "s1"] body (a: f32[N,8], y: f32[N,8]) -> (b) {
    t: f32[N,8] = Relu(a) @"s0"
    b: f32[N,8] = Add(t, y) @"s1"
  }
  c: f32[N,8] = Relu(b) @"third"
}
)";

TEST(Text, PrintsWhatItParsed) { EXPECT_EQ(print(parse(kText)), kText); }

TEST(Text, LargeConstantsAreHandedOver) {
  const Graph g = parse(kText);
  const std::string text = print(g, 4);
  EXPECT_NE(text.find('#'), std::string::npos);
  const std::vector<Tensor> data = {g.value(*g.find_value("w")).constant};
  EXPECT_EQ(print(parse(text, &data)), kText);
  EXPECT_THROW(parse(text), Error);
}

TEST(Text, EveryTruncationIsAnError) {
  const std::string text = kText;
  for (size_t n = 0; n + 2 < text.size(); ++n) EXPECT_THROW(parse(text.substr(0, n)), Error) << n;
}

TEST(Text, TypesAndNamesMayBeLeftOut) {
  std::string text = kText;
  for (const char* part : {"@\"s0\"", "@\"s1\"", "@\"first\"", "@\"second\"", "@\"third\"",
                           " from [\"s0\", \"s1\"]"}) {
    const size_t at = text.find(part);
    text.erase(at, std::string(part).size());
  }
  for (const char* name : {"a", "b", "c", "t"}) {
    const std::string typed = std::string(" ") + name + ": f32[N,8] =";
    for (size_t at; (at = text.find(typed)) != std::string::npos;)
      text.replace(at, typed.size(), std::string(" ") + name + " =");
  }
  const Graph g = parse(text);
  const NodeId last = g.topological_order().back();
  EXPECT_EQ(g.node(last).name, "c");
  EXPECT_EQ(to_string(g.value(g.outputs[0]).shape), "[N,8]");
  EXPECT_THROW(parse("graph \"t\" (x) -> (x) {}"), Error);
}

TEST(Text, WrongDeclarationIsNamed) {
  std::string text = kText;
  text.replace(text.find("c: f32[N,8] = Relu"), 11, "c: f32[N,9]");
  try {
    parse(text);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("inferred f32[N,8]"), std::string::npos) << e.what();
  }
}

TEST(Outline, DissolveBringsTheNodesBack) {
  Graph g = parse(kText);
  verify(g, "parse");
  std::vector<NodeId> members;
  for (NodeId id : g.topological_order())
    if (g.node(id).name != "first") members.push_back(id);
  const NodeId fusion = outline(g, members, "outer");
  verify(g, "outline");
  EXPECT_EQ(g.node_count(), 2u);
  EXPECT_EQ(g.node(fusion).sources, (std::vector<std::string>{"s0", "s1", "third"}));
  EXPECT_EQ(g.value(g.outputs[0]).name, "c");
  dissolve(g, fusion);
  g.compact();
  verify(g, "dissolve");
  EXPECT_EQ(print(g), kText);
}

TEST(Outline, RefusesAPathThatLeavesAndComesBack) {
  Graph g;
  const ValueId x = g.add_input("x", DType::f32, {4});
  const ValueId a = g.op("Relu", {x}), b = g.op("Relu", {a}), c = g.op("Add", {a, b});
  g.outputs = {c};
  EXPECT_THROW(outline(g, {g.value(a).producer, g.value(c).producer}, "f"), Error);
}

std::string reshaped(const Shape& from, const Shape& strides, const Shape& to) {
  const auto out = reshape_strides(from, strides, to);
  return out ? to_string(*out) : "none";
}

TEST(Storage, ReshapeOfStrides) {
  const Expr n = Expr::symbol("N"), h = Expr::symbol("H"), w = Expr::symbol("W");
  EXPECT_EQ(reshaped({4, 6}, {6, 1}, {2, 2, 6}), "[12,6,1]");
  EXPECT_EQ(reshaped({4, 6}, {12, 1}, {2, 2, 6}), "[24,12,1]");  // a window of wider rows
  EXPECT_EQ(reshaped({4, 6}, {12, 1}, {24}), "none");
  EXPECT_EQ(reshaped({4, 6}, {1, 4}, {24}), "none");  // transposed
  EXPECT_EQ(reshaped({4, 6}, {1, 4}, {4, 2, 3}), "[1,12,4]");
  // Extents of which none divides the other.
  EXPECT_EQ(reshaped({3, 5}, {5, 1}, {5, 3}), "[3,1]");
  EXPECT_EQ(reshaped({4, 6}, {12, 2}, {6, 4}), "[8,2]");
  EXPECT_EQ(reshaped({4, 6}, {1, 4}, {6, 4}), "none");
  EXPECT_EQ(reshaped({7, 4, 6}, {100, 6, 1}, {7, 8, 3}), "[100,3,1]");
  // Symbols.
  EXPECT_EQ(reshaped({n, h, w, 3}, row_major({n, h, w, 3}), {n, h * w, 3}), "[3*H*W,3,1]");
  EXPECT_EQ(reshaped({n, 6}, {6, 1}, {3, 2 * n}), "[2*N,1]");
  EXPECT_EQ(reshaped({n, 6}, {8, 1}, {3, 2 * n}), "none");
}

TEST(Graph, CycleIsPrinted) {
  Graph g;
  const ValueId x = g.add_input("x", DType::f32, {4});
  const ValueId a = g.op("Add", {x, x}, {}, "first"), b = g.op("Relu", {a}, {}, "second");
  g.node(g.value(a).producer).inputs[1] = b;
  g.outputs = {b};
  try {
    g.topological_order();
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("'first' -> 'second'"), std::string::npos) << e.what();
  }
}

TEST(Graph, OutputKeepsItsNameWhenReplaced) {
  Graph g;
  const ValueId x = g.add_input("x", DType::f32, {4});
  const ValueId a = g.op("Relu", {x}, {}, "a"), b = g.op("Relu", {a}, {}, "result");
  g.outputs = {b};
  g.replace_uses(b, a);
  EXPECT_EQ(g.remove_dead(), 1u);
  EXPECT_EQ(g.value(g.outputs[0]).name, "result");
}

TEST(Graph, AMillionNodesInAChain) {
  Graph g;
  ValueId v = g.add_input("x", DType::f32, {4});
  const OpDef* relu = find_op("", "Relu");
  for (int i = 0; i < 1000000; ++i) {
    Node n;
    n.op = relu;
    n.inputs = {v};
    n.outputs = {v = g.add_value("v", DType::f32, {4})};
    g.add_raw_node(std::move(n));
  }
  g.outputs = {v};
  EXPECT_EQ(g.topological_order().size(), 1000000u);
}

// Found by the differential test of src/compile: products of sums have no common factor to divide
// by.
TEST(Storage, ReshapeOfExtentsThatAreSums) {
  const Expr n = Expr::symbol("N"), h = Expr::symbol("H"), w = Expr::symbol("W");
  const Shape image = {n, 7, h * 2 + 4, w * 2 + 4}, flat = {n, 7, (h * 2 + 4) * (w * 2 + 4)};
  EXPECT_EQ(reshape_strides(image, row_major(image), flat), row_major(flat));
  // Channels last: the plane is still one run.
  const Shape last = dense_strides(image, {0, 2, 3, 1});
  const auto strides = reshape_strides(image, last, flat);
  ASSERT_TRUE(strides.has_value());
  EXPECT_EQ((*strides)[2], Expr(7));
  EXPECT_FALSE(reshape_strides(image, dense_strides(image, {0, 1, 3, 2}), flat).has_value());
  // Dense memory takes any reshape, whether the extents can be compared or not.
  const Shape odd = {floordiv(h + 1, 2), 2}, other = {h + mod(h, 2)};
  EXPECT_EQ(reshape_strides(odd, row_major(odd), other), row_major(other));
}

}  // namespace
}  // namespace vitrail::ir
