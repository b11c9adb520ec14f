// SPDX-License-Identifier: Apache-2.0
// Attention over channels (MST: Cai et al. 2022, arXiv 2111.07910; MST++: arXiv 2204.07908):
//   q, k, v = X Wq, X Wk, X Wv              X [b, t, c], heads of d channels, no biases
//   A = softmax(rescale * k^T q / (|k| |q|))  per head, norms over tokens, clamped to eps
//   y = (v A^T as [b, t, h*d]) Wproj
//     =>
//   G = fusion "gram"(X) = X^T X                        [b, c, c]
//   M = fusion "spectral"(G, Wq, Wk, Wv, rescale, Wproj)  [b, c, o]
//   y = X M
// as the first body of a fusion whose second is what the model said (forms.h): the Gram form spends
// c^2 products a token where the other spends d c, and saves storing q and k.
//
// Exact in real arithmetic: k^T q = Wk^T (X^T X) Wq, the squared norm of a column of X W is the
// diagonal of W^T G W, and (X Wv) A^T Wproj = X (Wv blockdiag(A^T) Wproj). q and k are never
// stored; X is read twice. Diagonals are clamped at 0, where rounding could make them negative.
//
// Which axes a chain of Reshapes and Transposes leaves is decided by strides: the projections are
// taken as dense [b, t, h*d], and every later value must have the strides its role implies. Near
// misses that must stay: norms over another axis, q and k of different inputs, biases on q or k, a
// slice of the tokens, a factor for each column of the scores.
#include <cmath>

#include "ir/storage.h"
#include "passes/forms.h"
#include "passes/match.h"
#include "passes/passes.h"

namespace vitrail::passes {
namespace {

// A projection of the tokens seen through views: the strides of `v` in the product's memory.
struct Projection {
  ir::ValueId product, tokens, weight;
  Shape strides;
};

struct Found {
  Projection k, q, v;
  ir::ValueId rescale = ir::kNoValue;
  double eps = 0;
  int64_t heads = 0, head_dim = 0;
  ir::ValueId result, proj_weight;  ///< y and Wproj
};

class Pattern {
 public:
  explicit Pattern(ir::Graph& graph) : graph_(graph), match_(graph) {}

  std::optional<Found> at(ir::NodeId softmax) {
    const ir::Node& node = graph_.node(softmax);
    const size_t rank = graph_.value(node.inputs[0]).rank();
    if (rank != 4 || normalize_axis(node.attrs.integer("axis", -1), rank, "axis") != 3) return {};
    Found f;
    ir::ValueId scores = node.inputs[0];
    if (const ir::Node* mul = match_.from(scores, "Mul")) {
      for (size_t i = 0; i < 2 && !f.rescale.valid(); ++i)
        if (graph_.value(mul->inputs[i]).is_constant()) {
          f.rescale = mul->inputs[i];
          scores = mul->inputs[1 - i];
        }
    }
    if (f.rescale.valid() && !is_per_head(graph_.value(f.rescale), graph_.value(scores).shape))
      return {};
    const ir::Node* product = match_.from(scores, "MatMul");
    if (!product) return {};
    double eps_k = 0, eps_q = 0;
    const auto k = normalized(product->inputs[0], &eps_k),
               q = normalized(product->inputs[1], &eps_q);
    if (!k || !q || k->tokens != q->tokens || eps_k != eps_q) return {};
    f.k = *k, f.q = *q, f.eps = eps_k;
    const ir::NodeId mixed = match_.only_reader(node.outputs[0]);
    if (!mixed.valid() || !graph_.node(mixed).is("MatMul") ||
        graph_.node(mixed).inputs[0] != node.outputs[0])
      return {};
    const auto v = projection(graph_.node(mixed).inputs[1]);
    if (!v || v->tokens != f.k.tokens) return {};
    f.v = *v;

    // Roles by strides: k and v [b, h, d, t], q [b, h, t, d], all in memory [b, t, h*d].
    const Shape& shape = graph_.value(node.inputs[0]).shape;  // [b, h, d, d]
    if (!shape[1].is_constant() || !shape[2].is_constant()) return {};
    f.heads = shape[1].constant();
    f.head_dim = shape[2].constant();
    const Expr width = f.heads * f.head_dim, tokens = graph_.value(f.k.tokens).shape[1];
    const Shape channel_rows = {tokens * width, f.head_dim, 1, width},
                token_rows = {tokens * width, f.head_dim, width, 1};
    const auto fits = [&](const Projection& p, const Shape& wanted) {
      for (size_t i = 0; i < 4; ++i) {
        const Expr extent = i == 0 ? shape[0] : i == 1 ? shape[1] : Expr(2);
        if (!extent.is(1) && !(p.strides[i] == wanted[i])) return false;
      }
      return graph_.value(p.weight).shape[1] == width;
    };
    if (!fits(f.k, channel_rows) || !fits(f.q, token_rows) || !fits(f.v, channel_rows)) return {};
    return project(graph_.node(mixed).outputs[0], channel_rows, width, f) ? std::optional(f)
                                                                          : std::nullopt;
  }

 private:
  // A constant that broadcasts over scores [b, h, d, d] as one number or one for each head.
  static bool is_per_head(const ir::Value& value, const Shape& scores) {
    if (value.rank() > scores.size()) return false;
    for (size_t i = 0; i < value.rank(); ++i) {
      const size_t axis = scores.size() - value.rank() + i;
      if (!value.shape[i].is(1) && (axis != 1 || !(value.shape[i] == scores[1]))) return false;
    }
    return true;
  }
  // Views that keep all elements: a Slice of the tokens has the strides of all of them.
  static bool keeps_elements(const ir::Node& node) {
    return is_reshape(node) || node.is("Transpose");
  }

  // v = views of MatMul(tokens [b, t, c], constant [c, n]).
  std::optional<Projection> projection(ir::ValueId v) {
    std::vector<const ir::Node*> views;
    ir::ValueId at = v;
    for (const ir::Node* up = graph_.producer(at); up && keeps_elements(*up) && views.size() < 8;
         up = graph_.producer(at)) {
      views.push_back(up);
      at = up->inputs[0];
    }
    const ir::Node* product = match_.from(at, "MatMul");
    if (!product || !graph_.value(product->inputs[1]).is_constant() ||
        graph_.value(product->inputs[1]).rank() != 2)
      return {};
    if (graph_.value(product->inputs[0]).rank() != 3) return {};
    ir::Storage s{0, 0, row_major(graph_.value(at).shape)};
    for (size_t i = views.size(); i-- > 0;) {
      const auto next = ir::view_storage(graph_, *views[i], 0, s);
      if (!next || views[i]->outputs.size() != 1) return {};
      s = *next;
    }
    if (!s.offset.is(0)) return {};
    return Projection{at, product->inputs[0], product->inputs[1], s.strides};
  }

  // v = views of Div(p, max(|p| over tokens, eps)), p views of a projection.
  std::optional<Projection> normalized(ir::ValueId v, double* eps) {
    std::vector<const ir::Node*> views;
    ir::ValueId at = v;
    for (const ir::Node* up = graph_.producer(at); up && keeps_elements(*up) && views.size() < 8;
         up = graph_.producer(at)) {
      views.push_back(up);
      at = up->inputs[0];
    }
    const ir::Node* div = match_.from(at, "Div");
    const ir::Node* clip = div ? match_.from(div->inputs[1], "Clip") : nullptr;
    if (!clip || clip->inputs.size() < 2 || (clip->inputs.size() > 2 && clip->inputs[2].valid()))
      return {};
    const auto least = match_.scalar(clip->inputs[1]);
    const ir::Node* norm = match_.from(clip->inputs[0], "ReduceL2");
    if (!least || !norm || norm->inputs[0] != div->inputs[0] || norm->inputs.size() < 2) return {};
    const auto axes = graph_.ints(norm->inputs[1]);
    if (!axes || axes->size() != 1 || !(*axes)[0].is_constant() ||
        norm->attrs.integer("keepdims", 1) != 1)
      return {};
    auto p = projection(div->inputs[0]);
    if (!p) return {};
    const auto axis =
        static_cast<size_t>(normalize_axis((*axes)[0].constant(), p->strides.size(), "axis"));
    // The token axis, by stride and extent: with one head the head's axis may have that stride,
    // too.
    const Expr& tokens = graph_.value(p->tokens).shape[1];
    if (!(p->strides[axis] == graph_.value(p->weight).shape[1]) ||
        !(graph_.value(div->inputs[0]).shape[axis] == tokens))
      return {};
    ir::Storage s{0, 0, p->strides};
    for (size_t i = views.size(); i-- > 0;) {
      const auto next = ir::view_storage(graph_, *views[i], 0, s);
      if (!next) return {};
      s = *next;
    }
    p->strides = s.strides;
    *eps = *least;
    return p;
  }

  // From the mixed values [b, h, d, t] down through views to the projection's MatMul.
  bool project(ir::ValueId v, Shape strides, const Expr& width, Found& f) {
    ir::Storage s{0, 0, std::move(strides)};
    for (int depth = 0; depth < 8; ++depth) {
      const ir::NodeId reader = match_.only_reader(v);
      if (!reader.valid()) return false;
      const ir::Node& node = graph_.node(reader);
      if (node.is("MatMul")) {
        const Shape& shape = graph_.value(v).shape;
        // [b, t, h*d], or the same rows under other leading extents.
        const bool dense =
            shape.size() >= 2 && shape.back() == width && ir::is_row_major(shape, s.strides);
        const ir::Value& w = graph_.value(node.inputs[1]);
        if (!dense || node.inputs[0] != v || !w.is_constant() || w.rank() != 2) return false;
        f.result = node.outputs[0];
        f.proj_weight = node.inputs[1];
        return true;
      }
      if (!keeps_elements(node)) return false;
      const auto next = ir::view_storage(graph_, node, 0, s);
      if (!next) return false;
      s = *next;
      v = node.outputs[0];
    }
    return false;
  }

  ir::Graph& graph_;
  Matcher match_;
};

std::unique_ptr<ir::Graph> gram_body(const Shape& x) {
  auto body = std::make_unique<ir::Graph>();
  body->name = "gram";
  const ir::ValueId in = body->add_input("x", DType::f32, x);
  const ir::ValueId turned = body->op("Transpose", {in}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
  body->outputs = {body->op("MatMul", {turned, in})};
  return body;
}

std::unique_ptr<ir::Graph> spectral_body(const ir::Graph& graph, const Found& f,
                                         const Shape& gram) {
  auto body = std::make_unique<ir::Graph>();
  ir::Graph& g = *body;
  g.name = "spectral";
  const int64_t c = gram[1].constant(), h = f.heads, d = f.head_dim;
  const ir::ValueId G = g.add_input("gram", DType::f32, gram);
  const auto input = [&](const char* name, ir::ValueId v) {
    return g.add_input(name, DType::f32, graph.value(v).shape);
  };
  const ir::ValueId wq = input("wq", f.q.weight), wk = input("wk", f.k.weight),
                    wv = input("wv", f.v.weight);
  const ir::ValueId rescale = g.add_input("rescale", DType::f32, {h}),
                    wproj = input("wproj", f.proj_weight);
  using Ints = std::vector<int64_t>;
  const auto reshape = [&](ir::ValueId v, const Ints& to) {
    return g.op("Reshape", {v, add_ints(g, "shape", to)});
  };
  const auto transpose = [&](ir::ValueId v, const Ints& perm) {
    return g.op("Transpose", {v}, {{"perm", perm}});
  };
  const auto per_head = [&](ir::ValueId w) {
    return transpose(reshape(w, {c, h, d}), {1, 0, 2});
  };  // [h, c, d]
  const auto heads_of = [&](ir::ValueId gw) {
    return transpose(reshape(gw, {0, c, h, d}), {0, 2, 1, 3});
  };  // [b, h, c, d]
  const ir::ValueId gq = heads_of(g.op("MatMul", {G, wq})), gk = heads_of(g.op("MatMul", {G, wk}));
  const auto norm = [&](ir::ValueId w, ir::ValueId gw) {  // [b, h, 1, d]
    const ir::ValueId squared =
        g.op("ReduceSum", {g.op("Mul", {gw, per_head(w)}), add_ints(g, "axes", {2})},
             {{"keepdims", int64_t{1}}});
    const ir::ValueId root = g.op("Sqrt", {g.op("Clip", {squared, add_scalar(g, "zero", 0)})});
    return g.op("Clip", {root, add_scalar(g, "eps", static_cast<float>(f.eps))});
  };
  const ir::ValueId products =
      g.op("MatMul", {transpose(per_head(wk), {0, 2, 1}), gq});  // [b, h, d, d]
  const ir::ValueId by_k = g.op("Div", {products, transpose(norm(wk, gk), {0, 1, 3, 2})});
  const ir::ValueId scores =
      g.op("Mul", {g.op("Div", {by_k, norm(wq, gq)}), reshape(rescale, {h, 1, 1})});
  const ir::ValueId attention = g.op("Softmax", {scores}, {{"axis", int64_t{-1}}});
  const ir::ValueId mixed =
      g.op("MatMul", {per_head(wv), transpose(attention, {0, 1, 3, 2})});  // [b, h, c, d]
  g.outputs = {g.op("MatMul", {reshape(transpose(mixed, {0, 2, 1, 3}), {0, c, h * d}), wproj})};
  return body;
}

ir::ValueId add_fusion(ir::Graph& graph, std::string family, std::vector<ir::ValueId> inputs,
                       std::unique_ptr<ir::Graph> body, Attrs attrs,
                       std::vector<std::string> sources) {
  ir::Node node;
  node.name = family;
  node.family = std::move(family);
  node.attrs = std::move(attrs);
  node.inputs = std::move(inputs);
  node.sources = std::move(sources);
  body->symbols = graph.symbols;
  const ir::Value& result = body->value(body->outputs[0]);
  const ir::ValueId out = graph.add_value(node.name, result.dtype, result.shape);
  node.outputs = {out};
  node.bodies.push_back(std::move(body));
  graph.add_raw_node(std::move(node));
  return out;
}

void rewrite(ir::Graph& graph, ir::NodeId softmax, const Found& f) {
  const ir::ValueId x = f.k.tokens;
  std::vector<std::string> sources;
  for (ir::ValueId v : {f.q.product, f.k.product})
    for (const std::string& s : graph.node(graph.value(v).producer).sources) sources.push_back(s);
  for (const std::string& s : graph.node(softmax).sources) sources.push_back(s);
  const Shape shape = graph.value(x).shape, gram = {shape[0], shape[2], shape[2]};
  const ir::ValueId g = add_fusion(graph, "gram", {x}, gram_body(shape), {}, sources);
  Tensor rescale(DType::f32, {f.heads});
  for (int64_t i = 0; i < f.heads; ++i) {
    const Tensor given =
        f.rescale.valid() ? graph.value(f.rescale).constant : Tensor::scalar<float>(1);
    rescale.mutable_data<float>()[i] = given.data<float>()[given.size() == 1 ? 0 : i];
  }
  const ir::ValueId factors = graph.add_constant("rescale", rescale);
  const ir::ValueId m =
      add_fusion(graph, "spectral", {g, f.q.weight, f.k.weight, f.v.weight, factors, f.proj_weight},
                 spectral_body(graph, f, gram), {{"heads", f.heads}, {"eps", f.eps}}, sources);
  const ir::NodeId last = graph.value(f.result).producer;
  const Shape wanted = graph.value(f.result).shape;
  const Shape given = {shape[0], shape[1], wanted.back()};
  if (wanted == given) {
    replace_with(graph, f.result, "MatMul", {x, m}, {}, {last});
  } else {
    const ir::ValueId product = add_like(graph, last, "MatMul", {x, m});
    const ir::ValueId target = add_ints(graph, "shape", *reshape_target(given, wanted));
    replace_with(graph, f.result, "Reshape", {product, target}, {}, {last});
  }
}

std::optional<Found> matched(ir::Graph& graph, ir::NodeId id) {
  const ir::Node& node = graph.node(id);
  if (!node.alive || !node.is("Softmax") || graph.value(node.outputs[0]).dtype != DType::f32)
    return {};
  auto found = Pattern(graph).at(id);
  if (!found) return {};
  const Shape &x = graph.value(found->k.tokens).shape, &y = graph.value(found->result).shape;
  return x[2].is_constant() && reshape_target({x[0], x[1], y.back()}, y) ? found : std::nullopt;
}

}  // namespace

size_t spectral_attention(ir::Graph& graph) {
  size_t changes = 0;
  for (ir::NodeId id : graph.topological_order()) {
    const auto found = matched(graph, id);
    if (!found) continue;
    offer_form(graph, region_between(graph, found->k.tokens, found->result), "spectral_attention",
               [](ir::Graph& body) {
                 for (ir::NodeId inner : body.topological_order())
                   if (const auto again = matched(body, inner)) rewrite(body, inner, *again);
               });
    ++changes;
  }
  return changes + graph.remove_dead();
}

}  // namespace vitrail::passes
