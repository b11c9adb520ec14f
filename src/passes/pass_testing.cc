// SPDX-License-Identifier: Apache-2.0
#include "passes/pass_testing.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <regex>

#include "ir/text.h"
#include "oracle/oracle.h"

namespace vitrail::passes {
namespace {

Tensor drawn(DType dtype, const Dims& dims, double low, double high, uint64_t seed) {
  std::mt19937_64 random(seed);
  Tensor wide(DType::f64, dims);
  for (int64_t i = 0; i < wide.size(); ++i) {
    const double unit = static_cast<double>(random() >> 11) * 0x1p-53;
    wide.mutable_data<double>()[i] = is_float(dtype) ? low + unit * (high - low) : std::floor(unit * 4);
  }
  return wide.cast(dtype);
}

uint64_t seed_of(const std::string& name) {
  uint64_t h = 0xCBF29CE484222325ull;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return h;
}

// The constants of a text that are drawn, in order of appearance.
std::vector<Tensor> constants_of(const std::string& text) {
  static const std::regex kDrawn(R"(const\s+(\w+):\s*(\w+)\[([0-9,]*)\]\s*=\s*#([01]))");
  std::vector<Tensor> out;
  for (std::sregex_iterator it(text.begin(), text.end(), kDrawn), end; it != end; ++it) {
    const ir::Graph shape = ir::parse("graph \"t\" (x: f32[" + (*it)[3].str() + "]) -> (x) {}");
    const Dims dims = to_dims(shape.value({0}).shape);
    const bool positive = (*it)[4] == "1";
    out.push_back(drawn(dtype_from_name((*it)[2].str()), dims, positive ? 0.5 : -1, positive ? 1.5 : 1, seed_of((*it)[1])));
  }
  return out;
}

class Outline {
 public:
  explicit Outline(const ir::Graph& graph, int depth = 0) : graph_(graph), indent_(static_cast<size_t>(2 * depth), ' ') {}

  std::string text(const std::vector<std::string>& inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) names_[graph_.inputs[i]] = inputs[i];
    std::string results;
    for (ir::ValueId v : graph_.outputs) results += " " + name_of_value(v);
    return out_ + indent_ + "->" + results + "\n";
  }

 private:
  static std::string literal(const ir::Value& value) {
    const Tensor& t = value.constant;
    std::string out = std::string(name_of(value.dtype)) + to_string(t.dims());
    if (t.size() > 16) return out;  // what it holds shows in the results
    for (int64_t i = 0; i < t.size(); ++i) out += (i ? " " : "{") + fmt::format("{:.6g}", t.number_at(i));
    return out + (t.size() ? "}" : "{}");
  }
  std::string name_of_value(ir::ValueId v) {
    if (!v.valid()) return "_";
    const ir::Value& value = graph_.value(v);
    if (value.is_constant()) return literal(value);
    if (!names_.contains(v)) print_node(graph_.node(value.producer));
    return names_.at(v);
  }
  void print_node(const ir::Node& node) {
    std::string args;
    for (ir::ValueId in : node.inputs) args += (args.empty() ? "" : ", ") + name_of_value(in);
    std::string results;
    for (ir::ValueId v : node.outputs) {
      if (v.valid()) names_[v] = "t" + std::to_string(next_++);
      const std::string name = v.valid() ? names_[v] + ": " + name_of(graph_.value(v).dtype) + to_string(graph_.value(v).shape) : "_";
      results += (results.empty() ? "" : ", ") + name;
    }
    std::string line = results + " = " + (node.is_fusion() ? "fusion " : "") + node.type() + "(" + args + ")";
    for (const auto& [name, value] : node.attrs.all()) line += " " + name + "=" + attr(value);
    out_ += indent_ + line + "\n";
    for (const auto& body : node.bodies) {
      std::vector<std::string> inner;
      for (size_t i = 0; i < body->inputs.size(); ++i) inner.push_back("in" + std::to_string(i));
      out_ += Outline(*body, static_cast<int>(indent_.size()) / 2 + 1).text(inner);
    }
  }
  static std::string attr(const AttrValue& value) {
    return std::visit(
        [](const auto& v) -> std::string {
          using T = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<T, Tensor>) return "tensor" + to_string(v.dims());
          else if constexpr (std::is_same_v<T, double>) return fmt::format("{:.6g}", v);
          else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) return fmt::format("{}", v);
          else return fmt::format("[{}]", fmt::join(v, ","));
        },
        value);
  }

  const ir::Graph& graph_;
  std::string indent_, out_;
  std::map<ir::ValueId, std::string> names_;
  int next_ = 1;
};

// Every symbol 1, then odd and unequal values.
std::vector<Bindings> default_bindings(const ir::Graph& graph) {
  std::vector<Bindings> out;
  for (int64_t round = 0; round < 3; ++round) {
    Bindings b;
    int64_t k = 0;
    for (const auto& [name, symbol] : graph.symbols)
      if (symbol.kind == ir::SymbolKind::input) b[name] = std::min(std::max<int64_t>(symbol.range.low, 1 + 2 * round * (++k)), symbol.range.high);
    out.push_back(b);
    if (b.empty()) break;
  }
  return out;
}

std::string shown(const Bindings& bindings) {
  std::string out;
  for (const auto& [name, value] : bindings) out += fmt::format(" {}={}", name, value);
  return out;
}

void expect_equal_results(const ir::Graph& before, const ir::Graph& after, const Check& check) {
  for (const Bindings& at : check.at.empty() ? default_bindings(before) : check.at) {
    std::vector<Tensor> inputs;
    for (ir::ValueId in : before.inputs) {
      const ir::Value& value = before.value(in);
      Dims dims;
      for (const Expr& d : value.shape) dims.push_back(d.eval(at));
      inputs.push_back(drawn(value.dtype, dims, -2, 2, seed_of(value.name)));
    }
    const auto a = oracle::run(before, inputs, {.precision = DType::f64}), b = oracle::run(after, inputs, {.precision = DType::f64});
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(a[i].dims(), b[i].dims()) << "output " << i << " at" << shown(at);
      double largest = 1e-300, worst = 0;
      for (int64_t k = 0; k < a[i].size(); ++k) {
        const double x = a[i].number_at(k), y = b[i].number_at(k);
        ASSERT_EQ(std::isfinite(x), std::isfinite(y)) << "output " << i << " element " << k << " at" << shown(at);
        if (!std::isfinite(x)) continue;
        largest = std::max(largest, std::fabs(x));
        worst = std::max(worst, std::fabs(x - y));
      }
      EXPECT_LE(worst, check.tolerance * largest) << "output " << i << " at" << shown(at);
    }
  }
}

}  // namespace

ir::Graph graph_of(const std::string& text) {
  const std::vector<Tensor> constants = constants_of(text);
  return ir::parse("graph \"t\" " + text, &constants);
}

std::string outline_of(const ir::Graph& graph) {
  std::vector<std::string> inputs;
  for (ir::ValueId in : graph.inputs) inputs.push_back(graph.value(in).name);
  std::string out = Outline(graph).text(inputs);
  out += "named";
  for (ir::ValueId v : graph.outputs) out += " " + graph.value(v).name;
  return out + "\n";
}

ir::Graph rewritten(const std::string& pass, const ir::Graph& before, const Check& check) {
  const Pass* found = find_pass(pass);
  require(found != nullptr, Code::internal, "no pass '{}'", pass);
  ir::Graph after = before.clone();
  EXPECT_GT(found->run(after), 0u) << pass << " found nothing in\n" << outline_of(before);
  ir::verify(after, pass);
  after.compact();
  ir::verify(after, pass + " and compact");
  const std::string printed = ir::print(after, SIZE_MAX);
  EXPECT_EQ(ir::print(ir::parse(printed), SIZE_MAX), printed);
  expect_equal_results(before, after, check);
  ir::Graph again = after.clone();
  EXPECT_EQ(found->run(again), 0u) << pass << " run twice makes\n" << outline_of(again);
  return after;
}

void expect_rewrite(const std::string& pass, const std::string& before, const std::string& after, const Check& check) {
  try {
    EXPECT_EQ(outline_of(rewritten(pass, graph_of(before), check)), outline_of(graph_of(after)));
  } catch (const Error& e) {
    ADD_FAILURE() << pass << ": " << e.what() << "\n" << before;
  }
}

void expect_kept(const std::string& pass, const std::string& text) {
  try {
    const ir::Graph before = graph_of(text);
    ir::Graph after = before.clone();
    EXPECT_EQ(find_pass(pass)->run(after), 0u) << pass << " made\n" << outline_of(after) << "of\n" << outline_of(before);
    ir::verify(after, pass);
    after.compact();
    EXPECT_EQ(outline_of(after), outline_of(before));
  } catch (const Error& e) {
    ADD_FAILURE() << pass << ": " << e.what() << "\n" << text;
  }
}

}  // namespace vitrail::passes
