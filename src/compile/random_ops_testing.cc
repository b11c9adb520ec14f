// SPDX-License-Identifier: Apache-2.0
// Operations of random graphs: images, products, norms, data, control flow.
#include <algorithm>
#include <cmath>

#include "compile/random_graph_testing.h"

namespace vitrail::random_graph {
// ------------------------------------------------------------------ images
bool Maker::conv() {
  const auto x = of_rank(4);
  if (!x) return false;
  const Shape s = shape(x->id);
  if (!s[1].is_constant()) return false;
  const int64_t c = s[1].constant(), k = one_of<int64_t>({1, 1, 3, 3, 5}),
                stride = one_of<int64_t>({1, 1, 2}),
                dilation = k == 3 ? one_of<int64_t>({1, 1, 2}) : 1;
  const int64_t pad = pick(0, k / 2 * dilation), reach = (k - 1) * dilation + 1;
  if (least(s[2]) + 2 * pad < reach || least(s[3]) + 2 * pad < reach) return false;
  int64_t group = 1;
  if (chance(35))
    group = c;
  else if (chance(20))
    for (group = pick(1, c); c % group;) --group;
  const int64_t m =
      group == c && chance(70) ? c : group * pick(1, std::max<int64_t>(1, 24 / group));
  const int64_t terms = c / group * k * k;
  const double scale = 1.5 / std::sqrt(static_cast<double>(terms));
  std::vector<ir::ValueId> in = {x->id, constant({m, c / group, k, k}, -scale, scale)};
  if (chance(60)) in.push_back(constant({m}));
  keep(g_->op("Conv", in,
              {{"kernel_shape", Ints{k, k}},
               {"strides", Ints{stride, stride}},
               {"dilations", Ints{dilation, dilation}},
               {"pads", Ints{pad, pad, pad, pad}},
               {"group", group}}));
  return true;
}

bool Maker::conv_transpose() {
  const auto x = of_rank(4);
  if (!x || !shape(x->id)[1].is_constant()) return false;
  const int64_t c = shape(x->id)[1].constant(), k = pick(2, 3), stride = pick(1, 2), m = pick(1, 9);
  std::vector<ir::ValueId> in = {x->id, constant({c, m, k, k}, -0.5, 0.5)};
  if (chance(50)) in.push_back(constant({m}));
  keep(g_->op("ConvTranspose", in,
              {{"kernel_shape", Ints{k, k}}, {"strides", Ints{stride, stride}}}));
  return true;
}

bool Maker::pool() {
  const auto x = of_rank(4);
  if (!x) return false;
  const Shape s = shape(x->id);
  if (chance(25)) {
    keep(g_->op("GlobalAveragePool", {x->id}));
    return true;
  }
  const int64_t k = pick(2, 3), stride = pick(1, 2), pad = pick(0, 1);
  if (least(s[2]) + 2 * pad < k || least(s[3]) + 2 * pad < k) return false;
  const std::string op = one_of({"MaxPool", "AveragePool"});
  Attrs attrs = {{"kernel_shape", Ints{k, k}},
                 {"strides", Ints{stride, stride}},
                 {"pads", Ints{pad, pad, pad, pad}}};
  if (op == "AveragePool") attrs.set("count_include_pad", pick(0, 1));
  keep(g_->op(op, {x->id}, attrs));
  return true;
}

bool Maker::resize() {
  const auto x = of_rank(4);
  if (!x) return false;
  const bool nearest = chance(50);
  Attrs attrs = {
      {"mode", std::string(nearest ? "nearest" : "linear")},
      {"coordinate_transformation_mode", std::string(nearest ? "asymmetric" : "half_pixel")}};
  if (nearest) attrs.set("nearest_mode", std::string("floor"));
  keep(g_->op(
      "Resize",
      {x->id, ir::kNoValue, g_->add_constant("scales", Tensor::of<float>({4}, {1, 1, 2, 2}))},
      attrs));
  return true;
}

// ------------------------------------------------------------------ products, norms
bool Maker::matmul() {
  const ir::ValueId x = any().id;
  const Shape s = shape(x);
  if (s.size() < 2 || !s.back().is_constant()) return false;
  const int64_t k = s.back().constant(), n = one_of<int64_t>({1, 2, 5, 8, 16, 17, 33});
  const double scale = 1.5 / std::sqrt(static_cast<double>(k));
  if (s.size() == 2 && chance(40)) {
    const bool turned = chance(50);
    keep(g_->op("Gemm",
                {x, constant(turned ? Dims{n, k} : Dims{k, n}, -scale, scale), constant({n})},
                {{"transB", int64_t{turned}}}));
    return true;
  }
  ir::ValueId y = g_->op("MatMul", {x, constant({k, n}, -scale, scale)});
  if (chance(60))
    y = chance(80) ? g_->op("Add", {y, constant({n})}) : g_->op("Add", {constant({n}), y});
  keep(y);
  if (chance(40) && n == k) keep(g_->op("Add", {x, y}));
  return true;
}

// x and its transpose, scaled so that sums stay moderate.
bool Maker::product_of_values() {
  const ir::ValueId x = any().id;
  const size_t r = rank(x);
  if (r < 2 || r > 4) return false;
  Ints perm(r);
  for (size_t i = 0; i < r; ++i) perm[i] = static_cast<int64_t>(i);
  std::swap(perm[r - 1], perm[r - 2]);
  const ir::ValueId a = g_->op("Tanh", {x}),
                    b = g_->op("Transpose", {chance(50) ? a : g_->op("Sigmoid", {x})},
                               {{"perm", perm}});
  const ir::ValueId y = chance(50) ? g_->op("MatMul", {a, b}) : g_->op("MatMul", {b, a});
  keep(g_->op("Mul", {y, scalar(0.1F)}));
  return true;
}

// Tokens [n, t, c]: projections, heads, softmax, projection, as exporters write them.
bool Maker::attention() {
  const auto x = of_rank(3);
  if (!x || !shape(x->id)[2].is_constant()) return false;
  const int64_t c = shape(x->id)[2].constant(), heads = one_of<int64_t>({1, 2, 3}),
                d = one_of<int64_t>({4, 7, 8});
  const double scale = 1.5 / std::sqrt(static_cast<double>(c));
  const bool bias = chance(50);
  const auto project = [&] {
    ir::ValueId y = g_->op("MatMul", {x->id, constant({c, heads * d}, -scale, scale)});
    if (bias) y = g_->op("Add", {constant({heads * d}), y});
    return g_->op("Transpose", {g_->op("Reshape", {y, ints({0, -1, heads, d})})},
                  {{"perm", Ints{0, 2, 1, 3}}});
  };
  const ir::ValueId q = project(), k = project(), v = project();
  const ir::ValueId kt = g_->op("Transpose", {k}, {{"perm", Ints{0, 1, 3, 2}}});
  ir::ValueId scores = g_->op("MatMul", {q, kt});
  scores =
      chance(50) ? g_->op("Mul", {scores, scalar(0.35F)}) : g_->op("Div", {scores, scalar(2.5F)});
  ir::ValueId y = g_->op("MatMul", {g_->op("Softmax", {scores}, {{"axis", int64_t{-1}}}), v});
  y = g_->op("Reshape",
             {g_->op("Transpose", {y}, {{"perm", Ints{0, 2, 1, 3}}}), ints({0, -1, heads * d})});
  y = g_->op("MatMul", {y, constant({heads * d, c}, -0.5, 0.5)});
  keep(chance(50) ? g_->op("Add", {y, x->id}) : y);
  return true;
}

bool Maker::softmax() {
  const ir::ValueId x = any().id;
  const auto r = static_cast<int64_t>(rank(x));
  if (r == 0) return false;
  keep(g_->op("Softmax", {x}, {{"axis", chance(60) ? -1 : pick(-r, r - 1)}}));
  return true;
}

bool Maker::layer_norm() {
  const ir::ValueId x = any().id;
  const Shape s = shape(x);
  if (s.size() < 2 || !s.back().is_constant() || s.back().constant() < 3) return false;
  const int64_t n = s.back().constant();
  if (chance(50)) {
    keep(g_->op("LayerNormalization", {x, constant({n}), constant({n})},
                {{"axis", int64_t{-1}}, {"epsilon", 1e-2}}));
    return true;
  }
  const auto mean = [&](ir::ValueId v) {
    return g_->op("ReduceMean", {v, ints({-1})}, {{"keepdims", int64_t{1}}});
  };
  const ir::ValueId centred = g_->op("Sub", {x, mean(x)});
  const ir::ValueId variance = mean(g_->op("Pow", {centred, scalar(2)}));
  const ir::ValueId y =
      g_->op("Div", {centred, g_->op("Sqrt", {g_->op("Add", {variance, scalar(1e-2F)})})});
  keep(g_->op("Add", {g_->op("Mul", {y, constant({n})}), constant({n})}));
  return true;
}

bool Maker::other_norm() {
  const auto x = of_rank(4);
  if (!x || !shape(x->id)[1].is_constant()) return false;
  const int64_t c = shape(x->id)[1].constant();
  if (chance(70)) {
    keep(g_->op("BatchNormalization", {x->id, constant({c}, 0.5, 1.5), constant({c}), constant({c}),
                                       constant({c}, 0.5, 2)}));
  } else {
    keep(g_->op("InstanceNormalization", {x->id, constant({c}), constant({c})},
                {{"epsilon", 1e-2}}));
  }
  return true;
}

bool Maker::reduce() {
  const ir::ValueId x = any().id;
  const auto r = static_cast<int64_t>(rank(x));
  if (r == 0) return false;
  Ints axes;
  for (int64_t i = 0; i < r; ++i)
    if (chance(45)) axes.push_back(chance(70) ? i : i - r);
  if (axes.empty()) axes = {-1};
  const std::string op = one_of({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"});
  keep(g_->op(op, {op == "ReduceSum" ? g_->op("Mul", {x, scalar(0.05F)}) : x, ints(axes)},
              {{"keepdims", pick(0, 1)}}));
  return true;
}

// ------------------------------------------------------------------ comparisons, integers, data
bool Maker::select() {
  const Item x = any();
  if (!x.exact) return false;
  const ir::ValueId mask = g_->op(chance(50) ? "Greater" : "LessOrEqual", {x.id, scalar(0.1F)});
  if (chance(40))
    keep(g_->op("Cast", {mask}, {{"to", int64_t{1}}}), true);
  else
    keep(g_->op("Where", {mask, x.id, chance(50) ? scalar(0) : g_->op("Neg", {x.id})}), true);
  return true;
}

bool Maker::quantize() {
  const Item x = any();
  if (!x.exact) return false;
  const ir::ValueId scale = scalar(0.017F),
                    zero = g_->add_constant(
                        "z", Tensor::scalar<int8_t>(static_cast<int8_t>(pick(-5, 5))));
  const ir::ValueId y =
      g_->op("DequantizeLinear", {g_->op("QuantizeLinear", {x.id, scale, zero}), scale, zero});
  keep(y);
  return true;
}

// How many elements come out depends on the data.
bool Maker::data_extent() {
  const Item x = any();
  if (!x.exact || rank(x.id) == 0) return false;
  if (chance(50)) {
    const ir::ValueId where = g_->op(
        "NonZero", {g_->op("Greater", {x.id, scalar(static_cast<float>(pick(-1, 2)) * 0.5F)})});
    const ir::ValueId found = g_->op("Cast", {g_->op("Transpose", {where}, {{"perm", Ints{1, 0}}})},
                                     {{"to", int64_t{1}}});
    keep(chance(50) ? g_->op("MatMul", {g_->op("Mul", {found, scalar(0.05F)}),
                                        constant({static_cast<int64_t>(rank(x.id)), 5})})
                    : found);
    return true;
  }
  const ir::NodeId top =
      g_->add_node(*find_op("", "TopK"), {x.id, ints({1})}, {{"axis", int64_t{-1}}}, {}, 2);
  keep(g_->node(top).outputs[0], true);
  return true;
}

// ------------------------------------------------------------------ control flow
bool Maker::branch() {
  const Item x = any();
  if (depth_ >= 2 || rank(x.id) == 0) return false;
  Item judged = pool_[0];
  const ir::ValueId condition =
      g_->op("Greater", {g_->op("ReduceMean", {judged.id}, {{"keepdims", int64_t{0}}}),
                         scalar(static_cast<float>(pick(-1, 1)) * 0.01F)});
  std::vector<Item> captured = {x, any()};
  if (captured[1].id == x.id) captured.pop_back();
  ir::Node node;
  node.op = find_op("", "If");
  node.name = g_->unique_node_name("If");
  node.sources = {node.name};
  node.inputs = {condition};
  for (const Item& c : captured) node.inputs.push_back(c.id);
  const bool shorter = chance(30) && least(shape(x.id)[0]) >= 2;
  for (int which = 0; which < 2; ++which) {
    auto body = std::make_unique<ir::Graph>();
    body->name = which ? "else" : "then";
    body->symbols = g_->symbols;
    std::vector<Item> inside;
    for (const Item& c : captured) {
      const ir::Value& v = g_->value(c.id);
      const ir::ValueId in = body->add_value(v.name, v.dtype, v.shape);
      body->inputs.push_back(in);
      inside.push_back({in, false});
    }
    const Shape wanted = shape(x.id);
    std::swap(pool_, inside);
    ir::Graph* outer = g_;
    g_ = body.get();
    ++depth_;
    for (int64_t i = pick(1, 4); i-- > 0;) step();
    ir::ValueId result = pool_[0].id;
    for (const Item& item : pool_)
      if (shape(item.id) == wanted) result = item.id;
    if (chance(50)) result = g_->op("Mul", {result, scalar(which ? 0.5F : -1.5F)});
    if (shorter && which)
      result = g_->op("Slice", {result, ints({1}), ints({INT64_MAX}), ints({0})});
    body->outputs = {result};
    --depth_;
    g_ = outer;
    std::swap(pool_, inside);
    node.bodies.push_back(std::move(body));
  }
  const ir::ValueId out = g_->add_value(node.name, DType::f32, {});
  node.outputs = {out};
  g_->infer(g_->add_raw_node(std::move(node)));
  keep(out);
  return true;
}

bool Maker::loop() {
  const Item x = any();
  if (depth_ >= 2) return false;
  const int64_t trips = pick(0, 3);
  const std::vector<Item> captured = {any()};
  ir::Node node;
  node.op = find_op("", "Loop");
  node.name = g_->unique_node_name("Loop");
  node.sources = {node.name};
  node.attrs.set("carried", int64_t{1});
  node.inputs = {g_->add_constant("trips", Tensor::scalar<int64_t>(trips)),
                 g_->add_constant("go", Tensor::scalar<bool>(true)), x.id, captured[0].id};
  auto body = std::make_unique<ir::Graph>();
  body->name = "body";
  body->symbols = g_->symbols;
  const ir::ValueId round = body->add_value("round", DType::i64, {}),
                    go = body->add_value("go_on", DType::boolean, {});
  const ir::ValueId carried = body->add_value("carried", DType::f32, shape(x.id));
  const ir::ValueId other = body->add_value("other", DType::f32, shape(captured[0].id));
  body->inputs = {round, go, carried, other};
  const Shape wanted = shape(x.id);
  std::vector<Item> inside = {{carried, false}, {other, false}};
  std::swap(pool_, inside);
  ir::Graph* outer = g_;
  g_ = body.get();
  ++depth_;
  for (int64_t i = pick(1, 3); i-- > 0;) step();
  ir::ValueId next = carried;
  for (const Item& item : pool_)
    if (shape(item.id) == wanted) next = item.id;
  if (chance(50))
    next = g_->op("Add", {g_->op("Tanh", {next}), g_->op("Cast", {round}, {{"to", int64_t{1}}})});
  const ir::ValueId keep_going =
      chance(50)
          ? go
          : g_->op("Less", {round, g_->add_constant("last", Tensor::scalar<int64_t>(pick(0, 2)))});
  const bool scans = most_elements(carried) * 4 <= kMostElements && chance(60);
  body->outputs = {keep_going, next};
  if (scans) body->outputs.push_back(pool_.back().id);
  --depth_;
  g_ = outer;
  std::swap(pool_, inside);
  node.bodies.push_back(std::move(body));
  for (int i = 0; i < (scans ? 2 : 1); ++i)
    node.outputs.push_back(g_->add_value(node.name, DType::f32, {}));
  const auto outputs = node.outputs;
  g_->infer(g_->add_raw_node(std::move(node)));
  if (scans) g_->outputs.push_back(outputs[1]);
  keep(outputs[0]);
  return true;
}

}  // namespace vitrail::random_graph
