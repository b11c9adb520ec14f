// SPDX-License-Identifier: Apache-2.0
// MST++: Cai et al. 2022, arXiv 2204.07908. Three small U-nets in sequence, each of blocks with
// attention over channels (spectral attention) and a convolutional feed-forward part. Input any
// size: padded right and below to a multiple of 8 by reflection, cropped at the end.
#include "zoo/families.h"

namespace vitrail::zoo {
namespace {

constexpr int64_t kBands = 31;

class MstPlusPlus {
 public:
  MstPlusPlus(Graph& graph, const Weights& weights) : net_(graph, weights), g_(graph) {}

  Var run(Var input) {
    const Var sizes = g_.op("Shape", {input}, {{"start", int64_t{2}}, {"end", int64_t{4}}}, "size");
    // (8 - size mod 8) mod 8, by which H and W reach a multiple of 8.
    const Var eight = g_.constant("eight", Tensor::of<int64_t>({1}, {8}));
    const Var rest = g_.op("Mod", {sizes, eight}, {}, "pad/rest");
    const Var pads =
        g_.op("Mod", {g_.op("Sub", {eight, rest}, {}, "pad/missing"), eight}, {}, "pad/amount");
    const Var zeros = net_.ints({0, 0, 0, 0, 0, 0});
    const Var all = g_.op("Concat", {zeros, pads}, {{"axis", int64_t{0}}}, "pad/all");
    const Var padded = g_.op("Pad", {input, all}, {{"mode", std::string("reflect")}}, "pad");

    const Var first = net_.conv(padded, "conv_in", 3, kBands, {.bias = false});
    Var x = first;
    for (int i = 0; i < 3; ++i) x = u_net(x, "body." + std::to_string(i));
    x = g_.op("Add", {net_.conv(x, "conv_out", kBands, kBands, {.bias = false}), first}, {},
              "add_in");
    return g_.op("Slice", {x, net_.ints({0, 0}), sizes, net_.ints({2, 3})}, {}, "crop");
  }

 private:
  Var u_net(Var input, const std::string& name) {
    Var x = net_.conv(input, name + ".embedding", kBands, kBands, {.bias = false});
    std::vector<Var> skips;
    int64_t width = kBands;
    for (int i = 0; i < 2; ++i, width *= 2) {
      const std::string layer = name + ".encoder_layers." + std::to_string(i);
      x = block(x, layer + ".0.blocks.0", width);
      skips.push_back(x);
      x = net_.conv(x, layer + ".1", width, 2 * width,
                    {.kernel = 4, .stride = 2, .padding = 1, .bias = false});
    }
    x = block(x, name + ".bottleneck.blocks.0", width);
    for (int i = 0; i < 2; ++i, width /= 2) {
      const std::string layer = name + ".decoder_layers." + std::to_string(i);
      const std::vector<int64_t> two = {2, 2};
      x = g_.op("ConvTranspose",
                {x, net_.parameter(layer + ".0.weight", {width, width / 2, 2, 2}),
                 net_.parameter(layer + ".0.bias", {width / 2})},
                {{"kernel_shape", two}, {"strides", two}}, layer + ".0");
      x = g_.op("Concat", {x, skips[static_cast<size_t>(1 - i)]}, {{"axis", int64_t{1}}},
                layer + "/concat");
      x = net_.conv(x, layer + ".1", width, width / 2, {.kernel = 1, .padding = 0, .bias = false});
      x = block(x, layer + ".2.blocks.0", width / 2);
    }
    return g_.op("Add", {net_.conv(x, name + ".mapping", kBands, kBands, {.bias = false}), input},
                 {}, name + "/add");
  }

  Var gelu(Var x, const std::string& name) { return g_.op("Gelu", {x}, {}, name); }
  Var depthwise(Var x, const std::string& name, int64_t width) {
    return net_.conv(x, name, width, width, {.groups = width, .bias = false});
  }

  // x: [N, C, H, W]; both parts in [N, H, W, C], as the official code has them.
  Var block(Var image, const std::string& name, int64_t width) {
    const Var x = net_.transpose(image, {0, 2, 3, 1});
    const Var y = g_.op("Add", {x, attention(x, name + ".0", width)}, {}, name + "/add1");
    const Var z = g_.op("Add", {y, feed_forward(y, name + ".1", width)}, {}, name + "/add2");
    return net_.transpose(z, {0, 3, 1, 2});
  }

  Var attention(Var x, const std::string& name, int64_t width) {
    const int64_t heads = width / kBands;
    const Var shape = g_.op("Shape", {x}, {}, name + "/shape");
    const Var tokens = net_.reshape(x, {0, -1, width});
    const auto rows = [&](Var v) {
      return net_.transpose(net_.reshape(v, {0, -1, heads, kBands}), {0, 2, 3, 1});
    };  // [N, h, d, t]
    const auto normalized = [&](Var v, const char* part) {
      const Var norm = g_.op("ReduceL2", {v, net_.ints({-1})}, {{"keepdims", int64_t{1}}},
                             name + "/norm_" + part);
      return g_.op("Div",
                   {v, g_.op("Clip", {norm, net_.number(1e-12f)}, {}, name + "/clip_" + part)}, {},
                   name + "/unit_" + part);
    };
    const Var q = rows(net_.linear(tokens, name + ".to_q", width, width, false));
    const Var k = rows(net_.linear(tokens, name + ".to_k", width, width, false));
    const Var values = net_.linear(tokens, name + ".to_v", width, width, false);
    const Var scores =
        g_.op("MatMul", {normalized(k, "k"), net_.transpose(normalized(q, "q"), {0, 1, 3, 2})}, {},
              name + "/scores");
    const Var scaled = g_.op("Mul", {scores, net_.parameter(name + ".rescale", {heads, 1, 1})}, {},
                             name + "/rescale");
    const Var weights = g_.op("Softmax", {scaled}, {{"axis", int64_t{-1}}}, name + "/softmax");
    const Var mixed = g_.op("MatMul", {weights, rows(values)}, {}, name + "/mix");
    const Var out = net_.linear(net_.reshape(net_.transpose(mixed, {0, 3, 1, 2}), {0, -1, width}),
                                name + ".proj", width, width);
    // The positional branch works on v as an image.
    const Var v_image =
        net_.transpose(g_.op("Reshape", {values, shape}, {}, name + "/v_image"), {0, 3, 1, 2});
    const Var inner = gelu(depthwise(v_image, name + ".pos_emb.0", width), name + "/pos_gelu");
    const Var position = net_.transpose(depthwise(inner, name + ".pos_emb.2", width), {0, 2, 3, 1});
    return g_.op("Add", {g_.op("Reshape", {out, shape}, {}, name + "/image"), position}, {},
                 name + "/add_position");
  }

  Var feed_forward(Var x, const std::string& name, int64_t width) {
    const Var image = net_.transpose(net_.layer_norm(x, name + ".norm", width), {0, 3, 1, 2});
    Var y = net_.conv(image, name + ".fn.net.0", width, 4 * width,
                      {.kernel = 1, .padding = 0, .bias = false});
    y = gelu(depthwise(gelu(y, name + "/gelu1"), name + ".fn.net.2", 4 * width), name + "/gelu2");
    y = net_.conv(y, name + ".fn.net.4", 4 * width, width,
                  {.kernel = 1, .padding = 0, .bias = false});
    return net_.transpose(y, {0, 2, 3, 1});
  }

  Net net_;
  Graph& g_;
};

}  // namespace

Graph define_mst_plus_plus(const Model& model, const Weights& weights, const InputSize& size) {
  Graph g(model.name);
  const Var x = g.input("input", DType::f32, input_dims(model, size));
  g.output("output", MstPlusPlus(g, weights).run(x));
  auto& meta = g.metadata();
  meta["vitrail.task"] = "spectral";
  meta["vitrail.bands"] = "400..700:10";
  meta["vitrail.weights"] = weights.is_deterministic() ? "deterministic" : "checkpoint";
  meta["vitrail.preprocess.resize"] = "none";
  meta["vitrail.preprocess.range"] = "minmax";
  return g;
}

}  // namespace vitrail::zoo
