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

const ir::Node* fusion_of(const ir::Graph& graph) {
  for (ir::NodeId id : graph.topological_order())
    if (graph.node(id).family == "inverted") return &graph.node(id);
  return nullptr;
}

// The pass fuses `nodes` nodes of the model, and dissolving gives back the graph before.
void fuses(const std::string& text, size_t nodes) {
  const ir::Graph before = with_epilogues(text);
  ir::Graph after = rewritten("fuse_inverted", before);
  const ir::Node* fusion = fusion_of(after);
  ASSERT_NE(fusion, nullptr) << outline_of(after);
  EXPECT_EQ(fusion->sources.size(), nodes) << outline_of(after);
  for (ir::NodeId id : after.topological_order())
    if (after.node(id).family == "inverted") ir::dissolve(after, id);
  EXPECT_EQ(outline_of(after), outline_of(before));
}
void kept(const std::string& text) {
  ir::Graph graph = with_epilogues(text);
  const std::string before = outline_of(graph);
  EXPECT_EQ(fuse_inverted(graph), 0u) << outline_of(graph);
  EXPECT_EQ(outline_of(graph), before);
}

const std::string kWeights = R"(
    symbol N input 1..
    symbol H input 3..
    const s: f32[5] = #1
    const t: f32[5] = #0
    const w1: f32[12,5,1,1] = #0
    const b1: f32[12,1,1] = #0
    const dw: f32[12,1,3,3] = #0
    const b2: f32[12,1,1] = #0
    const w2: f32[6,12,1,1] = #0
    const w5: f32[5,12,1,1] = #0
)";
const std::string kHead = "(x: f32[N,5,H,7]) -> (y) {" + kWeights;
const std::string kWindow = "{group: 12, pads: i[1, 1, 1, 1]}";

TEST(FuseInverted, MobileNet) {
  fuses(kHead + "a = Conv(x, w1) @\"1\" \n b = Add(a, b1) @\"2\" \n c = Relu(b) @\"3\" \n" +
            "d = Conv(c, dw) {group: 12, pads: i[1, 1, 1, 1], strides: i[2, 2]} @\"4\" \n e = "
            "Add(b2, d) @\"5\" \n f = Relu(e) @\"6\" \n" +
            "y = Conv(f, w2) @\"7\" }",
        7);
}

TEST(FuseInverted, ResidualStaysInTheEpilogue) {
  fuses(kHead + "a = Conv(x, w1) @\"1\" \n c = Swish(a) @\"2\" \n d = Conv(c, dw) " + kWindow +
            " @\"3\" \n f = Gelu(d) @\"4\" \n g = Conv(f, w5) @\"5\" \n y = Add(x, g) @\"6\" }",
        6);
}

TEST(FuseInverted, NormBefore) {
  const std::string head = "(x: f32[N,H,7,5]) -> (y) {" + kWeights;
  const std::string rest = "a = Conv(z, w1) @\"3\" \n c = Gelu(a) @\"4\" \n d = Conv(c, dw) " +
                           kWindow + " @\"5\" \n y = Conv(d, w2) @\"6\" }";
  const std::string turn = "z = Transpose(n) {perm: i[0, 3, 1, 2]} @\"2\" \n";
  fuses(head + "n = LayerNormalization(x, s, t) @\"1\" \n" + turn + rest, 6);
  fuses(head + "n = LayerNormalization(x, s) @\"1\" \n" + turn + rest, 6);
  // A norm over other axes, or read elsewhere, stays outside.
  fuses("(x: f32[N,5,H,7]) -> (y) {" + kWeights +
            "const r: f32[7] = #1 \n z = LayerNormalization(x, r) @\"1\" \n" + rest,
        4);
  fuses("(x: f32[N,H,7,5]) -> (y, n) {" + kWeights + "n = LayerNormalization(x, s, t) @\"1\" \n" +
            turn + rest,
        4);
}

TEST(FuseInverted, NearMisses) {
  const std::string first = "a = Conv(x, w1) \n c = Relu(a) \n",
                    window = "d = Conv(c, dw) " + kWindow + " \n", last = "y = Conv(d, w2) }";
  // an intermediate that is an output, or read twice
  kept("(x: f32[N,5,H,7]) -> (y, c) {" + kWeights + first + window + last);
  kept("(x: f32[N,5,H,7]) -> (y, d) {" + kWeights + first + window + last);
  kept(kHead + first + window + "u = Add(c, d) \n y = Conv(u, w2) }");
  // dilated
  kept(kHead + first + "d = Conv(c, dw) {group: 12, pads: i[2, 2, 2, 2], dilations: i[2, 2]} \n" +
       last);
  // groups, but not one a channel
  kept(kHead + "const gw: f32[12,4,3,3] = #0 \n" + first +
       "d = Conv(c, gw) {group: 3, pads: i[1, 1, 1, 1]} \n" + last);
  // the first or the last has a window of its own
  kept(kHead +
       "const v: f32[12,5,3,3] = #0 \n a = Conv(x, v) {pads: i[1, 1, 1, 1]} \n c = Relu(a) \n" +
       window + last);
  kept(kHead + "const v: f32[6,12,3,3] = #0 \n" + first + window + "y = Conv(d, v) }");
  // another activation
  kept(kHead + "a = Conv(x, w1) \n c = Tanh(a) \n" + window + last);
  kept(kHead + "a = Conv(x, w1) \n c = Gelu(a) {approximate: \"tanh\"} \n" + window + last);
  kept(kHead + first + window + "e = Sigmoid(d) \n y = Conv(e, w2) }");
  // something between: two activations, a factor a channel, a bias after the activation
  kept(kHead + "a = Conv(x, w1) \n b = Relu(a) \n c = Relu(b) \n" + window + last);
  kept(kHead + "a = Conv(x, w1) \n c = Mul(a, b1) \n" + window + last);
  kept(kHead + first + "d = Conv(c, dw) " + kWindow +
       " \n e = Relu(d) \n f = Add(e, b2) \n y = Conv(f, w2) }");
  // weights that vary
  kept("(x: f32[N,5,H,7], v: f32[12,5,1,1]) -> (y) {" + kWeights +
       "a = Conv(x, v) \n c = Relu(a) \n" + window + last);
  kept("(x: f32[N,5,H,7], v: f32[12,1,3,3]) -> (y) {" + kWeights + first + "d = Conv(c, v) " +
       kWindow + " \n" + last);
  // weights that do not stay in the cache
  kept(
      "(x: f32[N,5,H,7]) -> (y) {\n symbol N input 1.. \n symbol H input 3.. \n const w1: "
      "f32[24000,5,1,1] = #0 \n const dw: f32[24000,1,1,1] = #0 \n"
      "const w2: f32[2,24000,1,1] = #0 \n a = Conv(x, w1) \n c = Relu(a) \n d = Conv(c, dw) "
      "{group: 24000} \n y = Conv(d, w2) }");
}

}  // namespace
}  // namespace vitrail::passes
