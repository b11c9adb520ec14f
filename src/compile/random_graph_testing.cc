// SPDX-License-Identifier: Apache-2.0
#include "compile/random_graph_testing.h"

#include <algorithm>
#include <cmath>

#include "vitrail/random.h"

namespace vitrail::random_graph {
RandomGraph make(uint64_t seed, int steps) { return Maker(seed).run(steps); }

RandomGraph Maker::run(int steps) {
  made_.graph.name = "random";
  g_ = &made_.graph;
  add_inputs();
  for (int i = 0; i < steps; ++i) step();
  const auto users = g_->users();
  for (const Item& item : pool_)
    if (users[item.id.index].empty() && g_->producer(item.id) && !g_->is_output(item.id))
      g_->outputs.push_back(item.id);
  // What models do too: a value twice, an input or a constant as an output.
  if (chance(5) && !g_->outputs.empty())
    g_->outputs.push_back(g_->op("Identity", {g_->outputs[0]}));
  if (chance(3))
    g_->outputs.push_back(chance(50) ? g_->op("Identity", {g_->inputs[0]}) : g_->inputs[0]);
  if (chance(3)) g_->outputs.push_back(constant({2, 3}));
  if (g_->outputs.empty()) g_->outputs = {g_->op("Relu", {pool_[0].id})};
  return std::move(made_);
}

// One to three inputs over the symbols N, H, W or plain numbers: images, tokens, matrices.
void Maker::add_inputs() {
  const auto extent = [&](const char* symbol, int64_t low, int64_t high) -> Expr {
    const int64_t a = pick(low, high), b = pick(a, high);
    if (!chance(50)) return a;
    const auto [at, fresh] = made_.symbols.emplace(symbol, std::make_pair(a, b));
    min_[symbol] = at->second.first;
    max_[symbol] = at->second.second;
    return Expr::symbol(symbol);
  };
  const Expr n = extent("N", 1, 4), h = extent("H", 6, 19), w = extent("W", 6, 21);
  const auto count = pick(1, 3);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t c = one_of<int64_t>({1, 3, 4, 7, 8, 12, 16, 31});
    Shape dims;
    switch (pick(0, 3)) {
      case 0:
        dims = {n, h, c};
        break;
      case 1:
        dims = {h, c};
        break;
      default:
        dims = {n, c, h, w};
    }
    const ir::ValueId v = g_->add_input("x" + std::to_string(i), DType::f32, dims);
    ShapeRange range;
    for (const Expr& d : dims) {
      range.min.push_back(least(d));
      range.max.push_back(most(d));
      range.opt.push_back((least(d) + most(d)) / 2);
    }
    if (!is_static(dims)) made_.shapes[g_->value(v).name] = range;
    pool_.push_back({v, true});
  }
  for (auto& [name, symbol] : g_->symbols) symbol.range = {min_.at(name), max_.at(name)};
}

Maker::Item Maker::any() {
  // Mostly what is new, so that chains grow; sometimes anything.
  const auto size = static_cast<int64_t>(pool_.size());
  return pool_[static_cast<size_t>(chance(60) ? std::max<int64_t>(0, size - pick(1, 2))
                                              : pick(0, size - 1))];
}
std::optional<Maker::Item> Maker::of_rank(size_t wanted) {
  std::vector<Item> found;
  for (const Item& item : pool_)
    if (rank(item.id) == wanted) found.push_back(item);
  if (found.empty()) return {};
  return found[static_cast<size_t>(chance(60) ? static_cast<int64_t>(found.size()) - 1
                                              : pick(0, static_cast<int64_t>(found.size()) - 1))];
}
ir::ValueId Maker::constant(const Dims& dims, double low, double high) {
  return g_->add_constant("c", random_tensor(DType::f32, dims, random_(), low, high));
}
void Maker::keep(ir::ValueId v, bool exact) {
  std::set<std::string> used;
  for (const Expr& d : shape(v)) d.collect_symbols(used);
  if (std::any_of(used.begin(), used.end(),
                  [&](const std::string& s) { return !min_.contains(s); })) {
    // An extent of the data: most ops above need to know theirs. One more op, then an output, or a
    // sum that has no such extent.
    if (depth_ > 0) return;
    g_->outputs.push_back(g_->op(chance(50) ? "Tanh" : "Relu", {v}));
    if (chance(50)) return;
    Ints axes(rank(v));
    for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
    v = g_->op("ReduceSum", {g_->op("Mul", {v, scalar(0.01F)}), ints(axes)},
               {{"keepdims", int64_t{1}}});
    exact = false;
  }
  if (most_elements(v) <= kMostElements && rank(v) <= 6) pool_.push_back({v, exact});
}

void Maker::step() {
  using Op = bool (Maker::*)();
  // How often each is tried.
  static constexpr std::pair<Op, int> kOps[] = {
      {&Maker::unary, 6},
      {&Maker::binary, 8},
      {&Maker::with_constant, 8},
      {&Maker::activation, 4},
      {&Maker::transpose, 8},
      {&Maker::reshape, 8},
      {&Maker::reshape_by_shape, 3},
      {&Maker::squeeze, 2},
      {&Maker::concat, 6},
      {&Maker::slice, 6},
      {&Maker::split, 3},
      {&Maker::expand, 2},
      {&Maker::gather, 3},
      {&Maker::pad, 3},
      {&Maker::conv, 8},
      {&Maker::conv_transpose, 2},
      {&Maker::pool, 4},
      {&Maker::resize, 3},
      {&Maker::matmul, 8},
      {&Maker::product_of_values, 4},
      {&Maker::attention, 3},
      {&Maker::softmax, 4},
      {&Maker::layer_norm, 5},
      {&Maker::other_norm, 3},
      {&Maker::reduce, 4},
      {&Maker::select, 2},
      {&Maker::quantize, 2},
      {&Maker::data_extent, 2},
      {&Maker::branch, 2},
      {&Maker::loop, 2},
  };
  int total = 0;
  for (const auto& [op, weight] : kOps) total += weight;
  for (int tries = 0; tries < 20; ++tries) {
    int64_t at = pick(0, total - 1);
    const auto* chosen = std::begin(kOps);
    while (at >= chosen->second) at -= (chosen++)->second;
    if ((this->*chosen->first)()) return;
  }
}

// ------------------------------------------------------------------ elementwise
bool Maker::unary() {
  const Item x = any();
  const char* op = one_of({"Relu", "Sigmoid", "Tanh", "Erf", "Abs", "Neg", "Softplus", "HardSwish",
                           "Exp", "Sqrt", "Reciprocal", "Identity"});
  ir::ValueId v = x.id;
  const std::string name = op;
  if (name == "Exp") v = g_->op("Tanh", {v});
  if (name == "Sqrt") v = g_->op("Abs", {v});
  if (name == "Reciprocal") v = g_->op("Add", {g_->op("Abs", {v}), scalar(1)});
  keep(g_->op(op, {v}), x.exact && name == "Identity");
  return true;
}

bool Maker::binary() {
  const ir::ValueId a = any().id, b = any().id;
  const Shape &x = shape(a), &y = shape(b);
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    const Expr &p = x[x.size() - 1 - i], &q = y[y.size() - 1 - i];
    if (!(p == q) && !p.is(1) && !q.is(1)) return false;
  }
  const std::string op = one_of({"Add", "Sub", "Mul", "Max", "Min", "Div", "Sum"});
  if (op == "Mul")
    keep(g_->op("Mul", {a, g_->op("Tanh", {b})}));
  else if (op == "Div")
    keep(g_->op("Div", {a, g_->op("Add", {g_->op("Abs", {b}), scalar(0.5F)})}));
  else
    keep(g_->op(op, {a, b}));
  return true;
}

bool Maker::with_constant() {
  const ir::ValueId a = any().id;
  const Shape x = shape(a);
  Dims dims;
  switch (pick(0, 3)) {
    case 0:
      break;
    case 1:
      if (x.empty() || !x.back().is_constant()) return false;
      dims = {x.back().constant()};
      break;
    case 2:  // one number a channel
      if (x.size() < 3 || !x[1].is_constant()) return false;
      dims.assign(x.size() - 1, 1);
      dims[0] = x[1].constant();
      break;
    default:
      if (!is_static(x)) return false;
      dims = to_dims(x);
  }
  const std::string op = one_of({"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"});
  if (op == "Pow") {
    keep(g_->op("Pow", {a, scalar(2)}));
    keep(g_->op("Tanh", {pool_.back().id}));
    return true;
  }
  ir::ValueId c = op == "Div" ? constant(dims, 0.5, 2) : constant(dims);
  const bool turned = op != "PRelu" && op != "Div" && chance(25);
  keep(turned ? g_->op(op, {c, a}) : g_->op(op, {a, c}));
  return true;
}

bool Maker::activation() {
  const ir::ValueId x = any().id;
  switch (pick(0, 4)) {
    case 0: {  // Gelu as exporters write it
      const ir::ValueId erf = g_->op("Erf", {g_->op("Div", {x, scalar(1.41421356F)})});
      keep(g_->op("Mul", {g_->op("Mul", {x, g_->op("Add", {erf, scalar(1)})}), scalar(0.5F)}));
      break;
    }
    case 1:
      keep(g_->op("Mul",
                  {x, g_->op("Sigmoid", {chance(50) ? x : g_->op("Mul", {x, scalar(1.702F)})})}));
      break;
    case 2:
      keep(g_->op("LeakyRelu", {x}, {{"alpha", 0.1}}));
      break;
    case 3:
      keep(g_->op("Clip", {x, scalar(-0.5F), scalar(0.75F)}));
      break;
    default:
      keep(g_->op("Gelu", {x}, {{"approximate", std::string(chance(50) ? "tanh" : "none")}}));
  }
  return true;
}

// ------------------------------------------------------------------ movement
bool Maker::transpose() {
  const Item x = any();
  const size_t r = rank(x.id);
  if (r < 2) return false;
  Ints perm(r);
  for (size_t i = 0; i < r; ++i) perm[i] = static_cast<int64_t>(i);
  if (chance(40))
    std::swap(perm[r - 1], perm[r - 2]);
  else if (r == 4 && chance(50))
    perm = chance(50) ? Ints{0, 2, 3, 1} : Ints{0, 3, 1, 2};
  else
    for (size_t i = r; i-- > 1;)
      std::swap(perm[i], perm[static_cast<size_t>(pick(0, static_cast<int64_t>(i)))]);
  keep(g_->op("Transpose", {x.id}, {{"perm", perm}}), x.exact);
  return true;
}

// Merges two neighbours, splits a constant extent, or flattens; at most one extent is left to -1.
bool Maker::reshape() {
  const Item x = any();
  const Shape s = shape(x.id);
  if (s.empty()) return false;
  Ints to;
  const auto r = static_cast<int64_t>(s.size());
  const auto number = [&](const Expr& e, int64_t axis, bool kept) -> std::optional<int64_t> {
    if (e.is_constant() && !e.is(0)) return e.constant();
    return kept ? std::optional<int64_t>(axis < r ? 0 : -1) : -1;
  };
  if (chance(50) && r >= 2) {
    const int64_t at = pick(0, r - 2);
    bool free = false;
    for (int64_t i = 0; i < r; ++i) {
      if (i == at + 1) continue;
      const Expr e = i == at ? s[static_cast<size_t>(i)] * s[static_cast<size_t>(i + 1)]
                             : s[static_cast<size_t>(i)];
      const auto n = number(e, i, i < at);
      if (*n == -1 && free) return false;
      free |= *n == -1;
      to.push_back(*n);
    }
  } else {
    const int64_t at = pick(0, r - 1);
    const Expr& e = s[static_cast<size_t>(at)];
    if (!e.is_constant() || e.constant() < 2) return false;
    int64_t divisor = pick(2, e.constant());
    while (e.constant() % divisor) --divisor;
    bool free = false;
    for (int64_t i = 0; i < r; ++i) {
      if (i == at) {
        to.push_back(divisor);
        to.push_back(e.constant() / divisor);
        continue;
      }
      const auto n = number(s[static_cast<size_t>(i)], i, i < at);
      if (*n == -1 && free) return false;
      free |= *n == -1;
      to.push_back(*n);
    }
  }
  keep(g_->op("Reshape", {x.id, ints(to)}), x.exact);
  return true;
}

// Shape, Gather, Concat, Reshape: [a, b, c..] -> [a, b * c, ..] or back to the shape of another
// value.
bool Maker::reshape_by_shape() {
  const Item x = any();
  const size_t r = rank(x.id);
  if (r < 2) return false;
  const ir::ValueId sizes = g_->op("Shape", {x.id});
  const auto extent = [&](int64_t axis) {
    return g_->op("Gather", {sizes, ints({axis})}, {{"axis", int64_t{0}}});
  };
  if (chance(50)) {
    keep(g_->op("Reshape",
                {x.id, g_->op("Concat", {extent(0), ints({-1})}, {{"axis", int64_t{0}}})}),
         x.exact);
  } else {
    const auto last = static_cast<int64_t>(r) - 1;
    std::vector<ir::ValueId> parts;
    for (int64_t i = 0; i < last - 1; ++i) parts.push_back(extent(i));
    parts.push_back(g_->op("Mul", {extent(last - 1), extent(last)}));
    keep(g_->op("Reshape",
                {x.id,
                 parts.size() == 1 ? parts[0] : g_->op("Concat", parts, {{"axis", int64_t{0}}})}),
         x.exact);
  }
  return true;
}

bool Maker::squeeze() {
  const Item x = any();
  const Shape s = shape(x.id);
  for (size_t i = 0; i < s.size(); ++i)
    if (s[i].is(1) && chance(60)) {
      keep(g_->op("Squeeze", {x.id, ints({static_cast<int64_t>(i)})}), x.exact);
      return true;
    }
  if (s.size() > 4) return false;
  keep(g_->op("Unsqueeze", {x.id, ints({pick(0, static_cast<int64_t>(s.size()))})}), x.exact);
  return true;
}

bool Maker::concat() {
  const Item x = any();
  const auto r = static_cast<int64_t>(rank(x.id));
  if (r == 0) return false;
  const int64_t axis = pick(0, r - 1);
  std::vector<ir::ValueId> parts = {x.id};
  bool exact = x.exact;
  for (const Item& other : pool_) {
    if (parts.size() >= 3 || other.id == x.id || static_cast<int64_t>(rank(other.id)) != r ||
        !chance(60))
      continue;
    bool fits = true;
    for (int64_t i = 0; i < r; ++i)
      fits = fits && (i == axis || shape(other.id)[static_cast<size_t>(i)] ==
                                       shape(x.id)[static_cast<size_t>(i)]);
    if (!fits) continue;
    parts.push_back(other.id);
    exact = exact && other.exact;
  }
  if (parts.size() == 1) parts.push_back(chance(50) ? x.id : g_->op("Relu", {x.id})), exact = false;
  if (chance(50)) std::reverse(parts.begin(), parts.end());
  keep(g_->op("Concat", parts, {{"axis", chance(50) ? axis : axis - r}}), exact);
  return true;
}

bool Maker::slice() {
  const Item x = any();
  const Shape s = shape(x.id);
  if (s.empty()) return false;
  const int64_t axis = pick(0, static_cast<int64_t>(s.size()) - 1),
                n = least(s[static_cast<size_t>(axis)]);
  if (n < 2) return false;
  const int64_t start = pick(0, n - 1), end = chance(50) ? INT64_MAX : pick(start + 1, n),
                step = chance(70) ? 1 : pick(2, 3);
  if (chance(12))
    keep(g_->op("Slice", {x.id, ints({-1}), ints({INT64_MIN}), ints({axis}), ints({-1})}), x.exact);
  else if (chance(20))
    keep(g_->op("Slice", {x.id, ints({-pick(1, n)}), ints({INT64_MAX}), ints({axis})}), x.exact);
  else
    keep(g_->op("Slice", {x.id, ints({start}), ints({end}), ints({axis}), ints({step})}), x.exact);
  return true;
}

bool Maker::split() {
  const Item x = any();
  const Shape s = shape(x.id);
  for (size_t i = 0; i < s.size(); ++i) {
    if (!s[i].is_constant() || s[i].constant() < 2 || !chance(60)) continue;
    const int64_t first = pick(1, s[i].constant() - 1);
    const ir::NodeId node =
        g_->add_node(*find_op("", "Split"), {x.id, ints({first, s[i].constant() - first})},
                     {{"axis", static_cast<int64_t>(i)}}, {}, 2);
    const auto outputs = g_->node(node).outputs;
    keep(outputs[0], x.exact);
    if (chance(70)) keep(outputs[1], x.exact);
    return true;
  }
  return false;
}

bool Maker::expand() {
  const Item x = any();
  const Shape s = shape(x.id);
  if (s.size() > 4) return false;
  if (chance(30)) {
    Ints repeats(s.size(), 1);
    if (repeats.empty()) return false;
    repeats[static_cast<size_t>(pick(0, static_cast<int64_t>(s.size()) - 1))] = 2;
    keep(g_->op("Tile", {x.id, ints(repeats)}), x.exact);
    return true;
  }
  Ints to(s.size(), 1);
  for (size_t i = 0; i < s.size(); ++i)
    if (s[i].is(1)) to[i] = pick(1, 3);
  if (chance(50)) to.insert(to.begin(), pick(1, 3));
  if (to.empty()) to = {2};
  keep(g_->op("Expand", {x.id, ints(to)}), x.exact);
  return true;
}

bool Maker::gather() {
  const Item x = any();
  const Shape s = shape(x.id);
  if (s.empty()) return false;
  const int64_t axis = pick(0, static_cast<int64_t>(s.size()) - 1),
                n = least(s[static_cast<size_t>(axis)]);
  if (n < 1) return false;
  const ir::ValueId index = chance(50)
                                ? g_->add_constant("i", Tensor::scalar<int64_t>(pick(-n, n - 1)))
                                : ints({pick(0, n - 1), pick(-n, n - 1), 0});
  keep(g_->op("Gather", {x.id, index}, {{"axis", axis}}), x.exact);
  return true;
}

bool Maker::pad() {
  const auto x = of_rank(4);
  if (!x) return false;
  const std::string mode = one_of({"constant", "constant", "reflect", "edge"});
  const Shape s = shape(x->id);
  if (least(s[2]) < 3 || least(s[3]) < 3) return false;
  const Ints pads = {
      0, mode == "constant" ? pick(0, 1) : 0, pick(0, 2), pick(0, 2), 0, 0, pick(0, 2), pick(0, 2)};
  keep(g_->op("Pad", {x->id, ints(pads)}, {{"mode", mode}}), x->exact);
  return true;
}

}  // namespace vitrail::random_graph
