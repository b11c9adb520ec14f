// SPDX-License-Identifier: Apache-2.0
// CvT: Wu et al. 2021, arXiv 2103.15808. Three stages of a convolutional token embedding and
// transformer blocks whose q, k and v come through depthwise convolutions; the last stage has a
// class token, which by-passes them. Scores are scaled by the stage's full width.
#include <array>
#include <cmath>
#include <string_view>

#include "zoo/families.h"

namespace vitrail::zoo {
namespace {

struct Stage {
  int64_t width, heads, depth, patch, stride, padding;
  bool class_token;
};
using Stages = std::array<Stage, 3>;

constexpr Stages kCvt13 = {
    {{64, 1, 1, 7, 4, 2, false}, {192, 3, 2, 3, 2, 1, false}, {384, 6, 10, 3, 2, 1, true}}};
constexpr Stages kCvt21 = {
    {{64, 1, 1, 7, 4, 2, false}, {192, 3, 4, 3, 2, 1, false}, {384, 6, 16, 3, 2, 1, true}}};
constexpr Stages kCvtW24 = {
    {{192, 3, 2, 7, 4, 2, false}, {768, 12, 2, 3, 2, 1, false}, {1024, 16, 20, 3, 2, 1, true}}};

/// Tokens of an image: [N, height * width (+ 1 in front with a class token), width of the stage].
struct Tokens {
  Var values;
  int64_t height, width;
};

class Cvt {
 public:
  Cvt(Graph& graph, const Weights& weights) : net_(graph, weights), g_(graph) {}

  Var run(Var x, const Stages& stages, int64_t height, int64_t width) {
    int64_t channels = 3;
    Var cls{};
    for (size_t i = 0; i < stages.size(); ++i) {
      const Stage& s = stages[i];
      const std::string name = "stage" + std::to_string(i);
      height = (height + 2 * s.padding - s.patch) / s.stride + 1;
      width = (width + 2 * s.padding - s.patch) / s.stride + 1;
      Tokens t = embed(x, name, channels, s, height, width);
      for (int64_t b = 0; b < s.depth; ++b)
        t.values = block(t, name + ".blocks." + std::to_string(b), s);
      if (s.class_token)
        cls = net_.g.op("Slice", {t.values, net_.ints({0}), net_.ints({1}), net_.ints({1})}, {},
                        name + "/cls");
      else
        x = to_image(t, s.width);
      channels = s.width;
    }
    const Var row = net_.reshape(net_.layer_norm(cls, "norm", channels), {0, channels});
    return net_.linear(row, "head", channels, 1000);
  }

 private:
  Var to_image(const Tokens& t, int64_t channels) {
    return net_.reshape(net_.transpose(t.values, {0, 2, 1}), {0, channels, t.height, t.width});
  }
  Var to_tokens(Var image, int64_t channels, int64_t tokens) {
    return net_.transpose(net_.reshape(image, {0, channels, tokens}), {0, 2, 1});
  }

  Tokens embed(Var x, const std::string& name, int64_t channels, const Stage& s, int64_t height,
               int64_t width) {
    const std::string embed = name + ".patch_embed";
    const Var y = net_.conv(x, embed + ".proj", channels, s.width,
                            {.kernel = s.patch, .stride = s.stride, .padding = s.padding});
    Tokens t{net_.layer_norm(to_tokens(y, s.width, height * width), embed + ".norm", s.width),
             height, width};
    if (s.class_token) {
      // [1, 1, C] for every image of the batch, whose size may be a symbol.
      const Var batch =
          g_.op("Shape", {t.values}, {{"start", int64_t{0}}, {"end", int64_t{1}}}, name + "/batch");
      const Var shape = g_.op("Concat", {batch, net_.ints({1, s.width})}, {{"axis", int64_t{0}}},
                              name + "/cls_shape");
      const Var cls = g_.op("Expand", {net_.parameter(name + ".cls_token", {1, 1, s.width}), shape},
                            {}, name + "/cls_expand");
      t.values = g_.op("Concat", {cls, t.values}, {{"axis", int64_t{1}}}, name + "/cls_concat");
    }
    return t;
  }

  // Depthwise 3x3 and batch norm on the image, then the class token in front again.
  Var project(const Tokens& t, const std::string& name, const Stage& s, char which, int64_t stride,
              Var cls, Var image) {
    const std::string path = name + ".conv_proj_" + which;
    Var y =
        net_.conv(image, path + ".conv", s.width, s.width,
                  {.kernel = 3, .stride = stride, .padding = 1, .groups = s.width, .bias = false});
    const auto bn = [&](const char* part) {
      return net_.parameter(path + ".bn." + part, {s.width});
    };
    y = g_.op("BatchNormalization",
              {y, bn("weight"), bn("bias"), bn("running_mean"), bn("running_var")},
              {{"epsilon", 1e-5}}, path + ".bn");
    const int64_t h = (t.height - 1) / stride + 1, w = (t.width - 1) / stride + 1;
    y = to_tokens(y, s.width, h * w);
    if (s.class_token) y = g_.op("Concat", {cls, y}, {{"axis", int64_t{1}}}, path + "/cls");
    return net_.linear(y, name + ".proj_" + which, s.width, s.width);
  }

  Var attention(const Tokens& t, const std::string& name, const Stage& s) {
    Var cls{}, tokens = t.values;
    if (s.class_token) {
      const std::vector<Var> parts = g_.op("Split", {t.values, net_.ints({1, t.height * t.width})},
                                           {{"axis", int64_t{1}}}, 2, name + "/split");
      cls = parts[0];
      tokens = parts[1];
    }
    const Var image = to_image({tokens, t.height, t.width}, s.width);
    const int64_t head = s.width / s.heads;
    const auto heads = [&](Var v) {
      return net_.transpose(net_.reshape(v, {0, -1, s.heads, head}), {0, 2, 1, 3});
    };
    const Var q = heads(project(t, name, s, 'q', 1, cls, image));
    const Var k = heads(project(t, name, s, 'k', 2, cls, image));
    const Var v = heads(project(t, name, s, 'v', 2, cls, image));
    const Var scores = g_.op("MatMul", {q, net_.transpose(k, {0, 1, 3, 2})}, {}, name + "/scores");
    const Var scaled =
        g_.op("Mul", {scores, net_.number(1.0f / std::sqrt(static_cast<float>(s.width)))}, {},
              name + "/scale");
    const Var weights = g_.op("Softmax", {scaled}, {{"axis", int64_t{-1}}}, name + "/softmax");
    const Var mixed =
        net_.transpose(g_.op("MatMul", {weights, v}, {}, name + "/mix"), {0, 2, 1, 3});
    return net_.linear(net_.reshape(mixed, {0, -1, s.width}), name + ".proj", s.width, s.width);
  }

  Var block(const Tokens& t, const std::string& name, const Stage& s) {
    const Var normed = net_.layer_norm(t.values, name + ".norm1", s.width);
    const Var x =
        g_.op("Add", {t.values, attention({normed, t.height, t.width}, name + ".attn", s)}, {},
              name + "/add1");
    Var y = net_.linear(net_.layer_norm(x, name + ".norm2", s.width), name + ".mlp.fc1", s.width,
                        4 * s.width);
    // QuickGELU
    const Var gate =
        g_.op("Sigmoid", {g_.op("Mul", {y, net_.number(1.702f)}, {}, name + ".mlp/scale")}, {},
              name + ".mlp/sigmoid");
    y = g_.op("Mul", {y, gate}, {}, name + ".mlp/gelu");
    return g_.op("Add", {x, net_.linear(y, name + ".mlp.fc2", 4 * s.width, s.width)}, {},
                 name + "/add2");
  }

  Net net_;
  Graph& g_;
};

}  // namespace

Graph define_cvt(const Model& model, const Weights& weights, const InputSize& size) {
  Graph g(model.name);
  const std::string_view name = model.name;
  const Stages& stages = name == "cvt21" ? kCvt21 : name == "cvt_w24" ? kCvtW24 : kCvt13;
  const int64_t height = size.height > 0 ? size.height : model.height,
                width = size.width > 0 ? size.width : model.width;
  const Var x = g.input("input", DType::f32, input_dims(model, size));
  g.output("logits", Cvt(g, weights).run(x, stages, height, width));
  auto& meta = g.metadata();
  meta["vitrail.task"] = "classification";
  meta["vitrail.weights"] = weights.is_deterministic() ? "deterministic" : "checkpoint";
  // Official evaluation: bicubic; 224: shorter side 256 and the centre; 384: straight to the size.
  const std::string exact = std::to_string(height) + "x" + std::to_string(width);
  const bool crops = model.height == 224;
  meta["vitrail.preprocess.resize"] =
      crops ? std::to_string(static_cast<int64_t>(static_cast<double>(height) / 0.875)) : exact;
  meta["vitrail.preprocess.crop"] = crops ? exact : "none";
  meta["vitrail.preprocess.interpolation"] = "bicubic";
  meta["vitrail.preprocess.mean"] = "0.485,0.456,0.406";
  meta["vitrail.preprocess.std"] = "0.229,0.224,0.225";
  return g;
}

}  // namespace vitrail::zoo
