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

// Parts of the block; a test replaces one of them.
struct Block {
  std::string inputs = "x4: f32[N,H,7,5], m: f32[N,5,6]", outputs = "y, x";
  std::string tokens = "x = Reshape(x4, tokens)";
  std::string values = "v = MatMul(x, wv)";
  std::string first =
      "c = Conv(vt, w1) {group: 6, pads: i[1, 1, 1, 1]} \n p = Gelu(c) {approximate: \"none\"}";
  std::string mixed = "g = MatMul(x, m) \n gb = Add(g, b)";
  std::string second = "d = Conv(p, w2) {group: 6, pads: i[1, 1, 1, 1]} \n y = Add(gt, d)";

  std::string text() const {
    return "(" + inputs + ") -> (" + outputs + R"() {
      symbol N input 1..
      symbol H input 3..
      const tokens: i64[3] = {0, -1, 5}
      const image: i64[4] = {0, -1, 7, 6}
      const wv: f32[5,6] = #0
      const w1: f32[6,1,3,3] = #0
      const w2: f32[6,1,3,3] = #0
      const b: f32[6] = #0
      const b1: f32[6,1,1] = #0
)" + tokens +
           "\n" + values +
           "\n vi = Reshape(v, image) \n vt = Transpose(vi) {perm: i[0, 3, 1, 2]} \n" + first +
           "\n" + mixed +
           "\n gi = Reshape(gb, image) \n gt = Transpose(gi) {perm: i[0, 3, 1, 2]} \n" + second +
           "\n}";
  }
};

// The fusion stands for `nodes` of the graph's nodes; dissolving it gives back the graph before but
// for the Reshape, which stands twice.
void fuses(const Block& block, const char* what) {
  SCOPED_TRACE(what);
  try {
    const ir::Graph before = with_epilogues(block.text());
    ir::Graph after =
        rewritten("fuse_positional", before, {.at = {{{"N", 1}, {"H", 3}}, {{"N", 2}, {"H", 5}}}});
    size_t fusions = 0;
    for (ir::NodeId id : after.topological_order())
      if (after.node(id).family == "positional") {
        ++fusions;
        ir::dissolve(after, id);
      }
    EXPECT_EQ(fusions, 1u) << outline_of(after);
    share_equal_nodes(after);
    after.compact();
    EXPECT_EQ(outline_of(after), outline_of(before));
  } catch (const Error& e) {
    ADD_FAILURE() << e.what() << block.text();
  }
}
void kept(const Block& block, const char* what) {
  SCOPED_TRACE(what);
  try {
    ir::Graph graph = with_epilogues(block.text());
    const std::string before = outline_of(graph);
    EXPECT_EQ(fuse_positional(graph), 0u) << outline_of(graph);
    EXPECT_EQ(outline_of(graph), before);
  } catch (const Error& e) {
    ADD_FAILURE() << e.what() << block.text();
  }
}

TEST(FusePositional, Fuses) {
  fuses({}, "as MST++ has it");
  fuses({.first =
             "c = Conv(vt, w1) {group: 6, pads: i[1, 1, 1, 1]} \n e = Add(c, b1) \n p = Relu(e)"},
        "a bias and another activation");
  fuses({.first = "p = Conv(vt, w1) {group: 6, pads: i[1, 1, 1, 1]}"}, "no activation");
  fuses({.mixed = "gb = MatMul(x, m)"}, "no bias");
  fuses({.inputs = "x4: f32[N,H,7,5], m: f32[N,5,6], r: f32[N,6,H,7]",
         .second =
             "d = Conv(p, w2) {group: 6, pads: i[1, 1, 1, 1]} \n s = Add(d, gt) \n y = Add(s, r)"},
        "a residual");
}

TEST(FusePositional, NearMisses) {
  kept({.outputs = "y, v"}, "v is an output");
  kept({.outputs = "y, p"}, "p is an output");
  kept({.outputs = "y, gb"}, "the product is an output");
  kept({.inputs = "x4: f32[N,H,7,5], m: f32[N,5,6], wv2: f32[5,6]", .values = "v = MatMul(x, wv2)"},
       "Wv varies");
  kept({.inputs = "x4: f32[N,H,7,5], m: f32[N,5,6], u: f32[N,35,5]",
        .mixed = "g = MatMul(u, m) \n gb = Add(g, b)"},
       "products of different tokens");
  kept({.mixed = "const k: f32[5,6] = #0 \n g = MatMul(x, k) \n gb = Add(g, b)"}, "M is constant");
  kept({.mixed = "g = MatMul(x, m) \n gb = Mul(g, b)"}, "a factor, no bias");
  kept({.first = "c = Conv(vt, w1) {group: 6, pads: i[1, 1, 1, 1]} \n p = Tanh(c)"},
       "another activation");
  kept({.first = "const w5: f32[6,1,5,5] = #0 \n c = Conv(vt, w5) {group: 6, pads: i[2, 2, 2, 2]} "
                 "\n p = Relu(c)"},
       "another window");
  kept({.first =
            "c = Conv(vt, w1) {group: 6, pads: i[2, 2, 2, 2], dilations: i[2, 2]} \n p = Relu(c)"},
       "dilated");
  kept({.first =
            "const w6: f32[6,6,3,3] = #0 \n c = Conv(vt, w6) {pads: i[1, 1, 1, 1]} \n p = Relu(c)"},
       "dense");
  kept({.second = "d = Conv(p, w2) {group: 6, pads: i[1, 1, 1, 1]} \n y = Mul(gt, d)"},
       "a product of both");
  kept({.second =
            "d = Conv(p, w2) {group: 6, pads: i[1, 1, 1, 1]} \n a = Relu(d) \n y = Add(gt, a)"},
       "an activation before the sum");
  kept({.inputs = "x: f32[N,35,5], m: f32[N,5,6]", .outputs = "y", .tokens = ""},
       "the tokens are no image");
}

}  // namespace
}  // namespace vitrail::passes
