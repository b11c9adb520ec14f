// SPDX-License-Identifier: Apache-2.0
#include "ir/text_testing.h"

#include <fmt/ranges.h>

#include <cmath>
#include <random>
#include <regex>

#include "ir/text.h"

namespace vitrail::ir {

Tensor drawn(DType dtype, const Dims& dims, double low, double high, uint64_t seed) {
  std::mt19937_64 random(seed);
  Tensor wide(DType::f64, dims);
  for (int64_t i = 0; i < wide.size(); ++i) {
    const double unit = static_cast<double>(random() >> 11) * 0x1p-53;
    wide.mutable_data<double>()[i] =
        is_float(dtype) ? low + unit * (high - low) : std::floor(unit * 4);
  }
  return wide.cast(dtype);
}

uint64_t seed_of(const std::string& name) {
  uint64_t h = 0xCBF29CE484222325ull;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return h;
}

namespace {

// The constants of a text that are drawn, in order of appearance.
std::vector<Tensor> constants_of(const std::string& text) {
  static const std::regex kDrawn(R"(const\s+(\w+):\s*(\w+)\[([0-9,]*)\]\s*=\s*#([01]))");
  std::vector<Tensor> out;
  for (std::sregex_iterator it(text.begin(), text.end(), kDrawn), end; it != end; ++it) {
    const Graph shape = parse("graph \"t\" (x: f32[" + (*it)[3].str() + "]) -> (x) {}");
    const Dims dims = to_dims(shape.value({0}).shape);
    const bool positive = (*it)[4] == "1";
    out.push_back(drawn(dtype_from_name((*it)[2].str()), dims, positive ? 0.5 : -1,
                        positive ? 1.5 : 1, seed_of((*it)[1])));
  }
  return out;
}

class Outline {
 public:
  explicit Outline(const Graph& graph, int depth = 0)
      : graph_(graph), indent_(static_cast<size_t>(2 * depth), ' ') {}

  std::string text(const std::vector<std::string>& inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) names_[graph_.inputs[i]] = inputs[i];
    std::string results;
    for (ValueId v : graph_.outputs) results += " " + name_of_value(v);
    return out_ + indent_ + "->" + results + "\n";
  }

 private:
  static std::string literal(const Value& value) {
    const Tensor& t = value.constant;
    std::string out = std::string(name_of(value.dtype)) + to_string(t.dims());
    if (t.size() > 16) return out;  // what it holds shows in the results
    for (int64_t i = 0; i < t.size(); ++i)
      out += (i ? " " : "{") + fmt::format("{:.6g}", t.number_at(i));
    return out + (t.size() ? "}" : "{}");
  }
  std::string name_of_value(ValueId v) {
    if (!v.valid()) return "_";
    const Value& value = graph_.value(v);
    if (value.is_constant()) return literal(value);
    if (!names_.contains(v)) print_node(graph_.node(value.producer));
    return names_.at(v);
  }
  void print_node(const Node& node) {
    std::string args;
    for (ValueId in : node.inputs) args += (args.empty() ? "" : ", ") + name_of_value(in);
    std::string results;
    for (ValueId v : node.outputs) {
      if (v.valid()) names_[v] = "t" + std::to_string(next_++);
      const std::string name = v.valid() ? names_[v] + ": " + name_of(graph_.value(v).dtype) +
                                               to_string(graph_.value(v).shape)
                                         : "_";
      results += (results.empty() ? "" : ", ") + name;
    }
    std::string line =
        results + " = " + (node.is_fusion() ? "fusion " : "") + node.type() + "(" + args + ")";
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
          if constexpr (std::is_same_v<T, Tensor>)
            return "tensor" + to_string(v.dims());
          else if constexpr (std::is_same_v<T, double>)
            return fmt::format("{:.6g}", v);
          else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>)
            return fmt::format("{}", v);
          else
            return fmt::format("[{}]", fmt::join(v, ","));
        },
        value);
  }

  const Graph& graph_;
  std::string indent_, out_;
  std::map<ValueId, std::string> names_;
  int next_ = 1;
};

}  // namespace

Graph graph_of(const std::string& text) {
  const std::vector<Tensor> constants = constants_of(text);
  return parse("graph \"t\" " + text, &constants);
}

std::string outline_of(const Graph& graph) {
  std::vector<std::string> inputs;
  for (ValueId in : graph.inputs) inputs.push_back(graph.value(in).name);
  std::string out = Outline(graph).text(inputs);
  out += "named";
  for (ValueId v : graph.outputs) out += " " + graph.value(v).name;
  return out + "\n";
}

}  // namespace vitrail::ir
