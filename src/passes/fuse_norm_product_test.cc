// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "passes/pass_testing.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

// The graph after fuse_epilogue, which the pass reads.
ir::Graph with_epilogues(const std::string& text) {
  ir::Graph graph = graph_of(text);
  fuse_epilogue(graph);
  graph.compact();
  return graph;
}

// Parts of the graph; a test replaces one of them.
struct Parts {
  std::string inputs = "x: f32[N,7,5], r: f32[N,7,6]", outputs = "y";
  std::string norm = "n = LayerNormalization(x, s, t) {axis: -1}";
  std::string product = "m = MatMul(n, w) \n b1 = Add(m, b) \n g = Gelu(b1) \n y = Add(g, r)";

  std::string text() const {
    return "(" + inputs + ") -> (" + outputs + R"() {
      symbol N input 1..
      const s: f32[5] = #1
      const t: f32[5] = #0
      const w: f32[5,6] = #0
      const b: f32[6] = #0
)" + norm + "\n" +
           product + "\n}";
  }
};

// One fusion more; dissolving it gives back the graph before.
void fuses(const Parts& parts, const char* what) {
  SCOPED_TRACE(what);
  const ir::Graph before = with_epilogues(parts.text());
  ir::Graph after = rewritten("fuse_norm_product", before);
  size_t fusions = 0;
  for (ir::NodeId id : after.topological_order()) {
    const ir::Node& node = after.node(id);
    if (node.family != "gemm" || node.bodies[0]->node_count() != 2) continue;
    ++fusions;
    ir::dissolve(after, id);
  }
  EXPECT_EQ(fusions, 1u) << outline_of(after);
  after.compact();
  EXPECT_EQ(outline_of(after), outline_of(before));
}
void kept(const Parts& parts, const char* what) {
  SCOPED_TRACE(what);
  ir::Graph graph = with_epilogues(parts.text());
  const std::string before = outline_of(graph);
  EXPECT_EQ(fuse_norm_product(graph), 0u) << outline_of(graph);
  EXPECT_EQ(outline_of(graph), before);
}

TEST(FuseNormProduct, Fuses) {
  fuses({}, "with an epilogue");
  fuses({.product = "y = MatMul(n, w)"}, "a product alone");
  fuses({.norm = "n = LayerNormalization(x, s) {axis: 2, epsilon: 0.001}"}, "no shift");
  fuses({.product = "m = MatMul(n, w) \n q = Add(m, m) \n y = Mul(q, r)"}, "twice the product");
}

TEST(FuseNormProduct, NearMisses) {
  kept({.outputs = "y, n"}, "the normalized value is an output");
  kept({.product =
            "const v: f32[5,6] = #0 \n m = MatMul(n, w) \n k = MatMul(n, v) \n y = Add(m, k)"},
       "two products");
  kept({.inputs = "x: f32[N,7,5], r: f32[N,7,6]",
        .product = "const v: f32[5,5] = #0 \n m = MatMul(n, v) \n y = Add(m, n)"},
       "a residual reads it, too");
  kept({.norm = "const s2: f32[7,5] = #1 \n n = LayerNormalization(x, s2) {axis: 1}"},
       "over two axes");
  kept({.outputs = "y, mean", .norm = "n, mean = LayerNormalization(x, s, t) {axis: -1}"},
       "the mean is read");
  kept({.inputs = "x: f32[N,7,5], r: f32[N,7,6], u: f32[5]",
        .norm = "n = LayerNormalization(x, u) {axis: -1}"},
       "the scale varies");
  kept({.inputs = "x: f32[N,7,5], r: f32[N,7,6], v: f32[5,6]", .product = "y = MatMul(n, v)"},
       "the weight varies");
  kept({.product = "const v: f32[3,7] = #0 \n y = MatMul(v, n)"}, "on the right");
  kept({.product = "z = Relu(n) \n y = MatMul(z, w)"}, "something between");
  kept({.inputs = "x: f32[2,7,5]", .product = "const v: f32[2,5,6] = #0 \n y = MatMul(n, v)"},
       "a weight for each batch");
}

// Plans of the CPU do not see the pass.
TEST(FuseNormProduct, IsForGpus) {
  const auto nodes = [](bool gpu) {
    ir::Graph graph = graph_of(Parts{}.text());
    run(graph, {.gpu = gpu});
    return graph.node_count();
  };
  EXPECT_EQ(nodes(false), 2u);
  EXPECT_EQ(nodes(true), 1u);
}

}  // namespace
}  // namespace vitrail::passes
