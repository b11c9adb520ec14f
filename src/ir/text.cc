// SPDX-License-Identifier: Apache-2.0
// The printer of the text form; the parser is text_parse.cc.
#include "ir/text.h"

#include <cmath>

namespace vitrail::ir {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + "\"";
}

// A name as it stands where it is a plain word, quoted otherwise.
std::string word(const std::string& name) {
  bool plain = !name.empty() && !std::isdigit(static_cast<unsigned char>(name[0]));
  for (char c : name)
    plain &= std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '/';
  return plain ? name : "%" + quoted(name);
}

std::string number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return fmt::format("{}", value);
}

// Above how many elements a constant prints as its digest, and where it is put then.
struct Limit {
  size_t largest;
  std::vector<Tensor>* data;
};

std::string tensor(const Tensor& t, const Limit& limit) {
  std::string out = std::string(name_of(t.dtype())) + to_string(t.dims()) + " = ";
  if (static_cast<size_t>(t.size()) > limit.largest) {
    if (limit.data) limit.data->push_back(t);
    uint64_t h = 0xCBF29CE484222325ull;
    const auto* bytes = static_cast<const unsigned char*>(t.raw());
    for (size_t i = 0; i < t.bytes(); ++i) h = (h ^ bytes[i]) * 0x100000001B3ull;
    return out + fmt::format("#{:016x}", h);
  }
  out += "{";
  for (int64_t i = 0; i < t.size(); ++i) {
    if (i) out += ", ";
    if (t.dtype() == DType::f32) {
      const float v = t.data<float>()[i];  // the shortest text that reads back to the same float32
      out += std::isfinite(v) ? fmt::format("{}", v) : number(v);
    } else if (is_float(t.dtype())) {
      out += number(t.number_at(i));
    } else {
      out += std::to_string(t.int_at(i));
    }
  }
  return out + "}";
}

std::string attr(const AttrValue& value, const Limit& limit) {
  const auto list = [](const auto& items, auto text) {
    std::string out = "[";
    for (size_t i = 0; i < items.size(); ++i) out += (i ? ", " : "") + text(items[i]);
    return out + "]";
  };
  // Numbers always show a point or exponent, so that they do not read back as integers.
  const auto real = [](double v) {
    std::string text = number(v);
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
  };
  switch (static_cast<AttrKind>(value.index())) {
    case AttrKind::integer:
      return std::to_string(std::get<int64_t>(value));
    case AttrKind::number:
      return real(std::get<double>(value));
    case AttrKind::text:
      return quoted(std::get<std::string>(value));
    case AttrKind::integers:
      return "i" + list(std::get<std::vector<int64_t>>(value),
                        [](int64_t v) { return std::to_string(v); });
    case AttrKind::numbers:
      return "f" + list(std::get<std::vector<double>>(value), real);
    case AttrKind::texts:
      return "s" + list(std::get<std::vector<std::string>>(value), quoted);
    case AttrKind::tensor:
      return tensor(std::get<Tensor>(value), limit);
  }
  return "";
}

struct Printer {
  Limit limit;
  std::string out;

  static std::string type(const Value& v) {
    return std::string(name_of(v.dtype)) + to_string(v.shape);
  }
  static std::string declaration(const Value& v) { return word(v.name) + ": " + type(v); }

  void signature(const Graph& g) {
    out += "(";
    for (size_t i = 0; i < g.inputs.size(); ++i)
      out += (i ? ", " : "") + declaration(g.value(g.inputs[i]));
    out += ") -> (";
    for (size_t i = 0; i < g.outputs.size(); ++i)
      out += (i ? ", " : "") + word(g.value(g.outputs[i]).name);
    out += ")";
  }

  void symbols(const Graph& g, const std::string& indent) {
    for (const auto& [name, symbol] : g.symbols) {
      out += indent + "symbol " + word(name);
      if (symbol.kind == SymbolKind::data)
        out += " data " + symbol.bound.str();
      else
        out += fmt::format(
            " {} {}..{}", symbol.kind == SymbolKind::bind ? "bind" : "input", symbol.range.low,
            symbol.range.high == Interval::kUnbounded ? "" : std::to_string(symbol.range.high));
      out += "\n";
    }
    for (const Equality& e : g.guards)
      out += indent + "guard " + e.a.str() + " == " + e.b.str() + "\n";
  }

  void contents(const Graph& g, const std::string& indent) {
    for (uint32_t i = 0; i < g.value_count(); ++i)
      if (g.value({i}).is_constant())
        out += indent + "const " + word(g.value({i}).name) + ": " +
               tensor(g.value({i}).constant, limit) + "\n";
    for (NodeId id : g.topological_order()) node(g, g.node(id), indent);
  }

  void node(const Graph& g, const Node& n, const std::string& indent) {
    out += indent;
    for (size_t i = 0; i < n.outputs.size(); ++i)
      out += (i ? ", " : "") +
             (n.outputs[i].valid() ? declaration(g.value(n.outputs[i])) : std::string("_"));
    out += " = ";
    if (n.is_fusion())
      out += "fusion " + quoted(n.family);
    else
      out += (n.op->domain[0] ? std::string(n.op->domain) + "::" : std::string()) + n.op->name;
    out += "(";
    for (size_t i = 0; i < n.inputs.size(); ++i)
      out += (i ? ", " : "") +
             (n.inputs[i].valid() ? word(g.value(n.inputs[i]).name) : std::string("_"));
    out += ")";
    if (!n.attrs.all().empty()) {
      out += " {";
      bool first = true;
      for (const auto& [key, value] : n.attrs.all()) {
        out += (first ? "" : ", ") + word(key) + ": " + attr(value, limit);
        first = false;
      }
      out += "}";
    }
    out += " @" + quoted(n.name);
    if (!(n.sources.size() == 1 && n.sources[0] == n.name)) {
      out += " from [";
      for (size_t i = 0; i < n.sources.size(); ++i) out += (i ? ", " : "") + quoted(n.sources[i]);
      out += "]";
    }
    for (const auto& body : n.bodies) {
      out += " body ";
      signature(*body);
      out += " {\n";
      if (!n.is_fusion()) symbols(*body, indent + "  ");
      contents(*body, indent + "  ");
      out += indent + "}";
    }
    out += "\n";
  }
};

}  // namespace

std::string print(const Graph& graph, size_t largest_constant, std::vector<Tensor>* data) {
  Printer printer{{largest_constant, data}, {}};
  printer.out = "graph " + quoted(graph.name) + " ";
  printer.signature(graph);
  printer.out += " {\n";
  for (const auto& [key, value] : graph.metadata)
    printer.out += "  meta " + quoted(key) + " " + quoted(value) + "\n";
  printer.symbols(graph, "  ");
  printer.contents(graph, "  ");
  printer.out += "}\n";
  return printer.out;
}

}  // namespace vitrail::ir
