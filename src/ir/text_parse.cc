// SPDX-License-Identifier: Apache-2.0
// The parser of the text form: recursive descent, nesting capped.
#include <cmath>
#include <cstdlib>
#include <functional>

#include "ir/text.h"

namespace vitrail::ir {
namespace {

class Parser {
 public:
  Parser(std::string_view text, const std::vector<Tensor>* data) : text_(text), data_(data) {}

  Graph graph() {
    keyword("graph");
    Graph g;
    g.name = quoted();
    contents(g, true);
    skip();
    if (at_ != text_.size()) bad("text after the graph's end");
    return g;
  }

 private:
  static constexpr int kDeepest = 32;

  [[noreturn]] void bad(const std::string& what) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at_ && i < text_.size(); ++i) {
      if (text_[i] == '\n') {
        ++line;
        column = 1;
      } else {
        ++column;
      }
    }
    fail(Code::bad_input, "graph text, line {}, column {}: {}", line, column, what);
  }
  void skip() {
    while (at_ < text_.size() &&
           (std::isspace(static_cast<unsigned char>(text_[at_])) || text_[at_] == ';')) {
      if (text_[at_] == ';')  // a comment runs to the end of its line
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      else
        ++at_;
    }
  }
  bool peek(std::string_view token) {
    skip();
    return text_.substr(at_, token.size()) == token;
  }
  bool take(std::string_view token) {
    if (!peek(token)) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) bad("expected '" + std::string(token) + "'");
  }
  static bool word_char(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '/';
  }
  // A whole word equal to `wanted`, so that a value named "constant" is no "const".
  bool take_keyword(std::string_view wanted) {
    if (!peek(wanted)) return false;
    const size_t end = at_ + wanted.size();
    if (end < text_.size() && word_char(text_[end])) return false;
    at_ = end;
    return true;
  }
  void keyword(std::string_view wanted) {
    if (!take_keyword(wanted)) bad("expected '" + std::string(wanted) + "'");
  }
  std::string quoted() {
    expect("\"");
    std::string out;
    while (at_ < text_.size() && text_[at_] != '"') {
      char c = text_[at_++];
      if (c == '\\') {
        if (at_ >= text_.size()) bad("unfinished text");
        c = text_[at_++];
        if (c == 'n') {
          c = '\n';
        } else if (c == 'x') {
          if (at_ + 2 > text_.size()) bad("unfinished text");
          c = static_cast<char>(
              std::strtol(std::string(text_.substr(at_, 2)).c_str(), nullptr, 16));
          at_ += 2;
        }
      }
      out += c;
    }
    expect("\"");
    return out;
  }
  std::string word() {
    skip();
    if (take("%")) return quoted();
    const size_t start = at_;
    while (at_ < text_.size() && word_char(text_[at_])) ++at_;
    if (at_ == start) bad("expected a name");
    return std::string(text_.substr(start, at_ - start));
  }
  std::string number_text() {
    skip();
    const size_t start = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) ||
                                  text_[at_] == '+' || text_[at_] == '-' || text_[at_] == '.'))
      ++at_;
    if (at_ == start) bad("expected a number");
    return std::string(text_.substr(start, at_ - start));
  }
  double real() {
    const std::string text = number_text();
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (*end) bad("'" + printable(text) + "' is no number");
    return value;
  }
  int64_t integer() {
    const std::string text = number_text();
    char* end = nullptr;
    errno = 0;
    const int64_t value = std::strtoll(text.c_str(), &end, 10);
    if (*end || errno) bad("'" + printable(text) + "' is no integer");
    return value;
  }
  // An expression ends before any of the stops at nesting depth 0.
  Expr expr(std::string_view stops) {
    skip();
    const size_t start = at_;
    int depth = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (depth == 0 && stops.find(c) != std::string_view::npos) break;
      depth += c == '(';
      depth -= c == ')';
      ++at_;
    }
    return Expr::parse(text_.substr(start, at_ - start));
  }
  Shape shape() {
    Shape out;
    expect("[");
    if (take("]")) return out;
    do out.push_back(expr(",]"));
    while (take(","));
    expect("]");
    return out;
  }
  DType dtype() {
    skip();
    const size_t start = at_;
    while (at_ < text_.size() && std::isalnum(static_cast<unsigned char>(text_[at_]))) ++at_;
    return dtype_from_name(text_.substr(start, at_ - start));
  }
  Tensor tensor() {
    const DType type = dtype();
    const Dims dims = to_dims(shape());
    expect("=");
    if (take("#")) {
      number_text();
      if (!data_ || next_data_ >= data_->size())
        bad("a digest stands for data that is not at hand");
      const Tensor& t = (*data_)[next_data_++];
      if (t.dtype() != type || t.dims() != dims) bad("the data at hand has another type or shape");
      return t;
    }
    const int64_t count = element_count(dims);
    if (count > static_cast<int64_t>(text_.size())) bad("more elements than text");
    expect("{");
    Tensor out(type, dims);
    if (is_float(type)) {
      Tensor wide(DType::f64, dims);
      for (int64_t i = 0; i < count; ++i) {
        if (i) expect(",");
        wide.mutable_data<double>()[i] = real();
      }
      out = wide.cast(type);
    } else {
      Tensor wide(DType::i64, dims);
      for (int64_t i = 0; i < count; ++i) {
        if (i) expect(",");
        wide.mutable_data<int64_t>()[i] = integer();
      }
      out = wide.cast(type);
    }
    expect("}");
    return out;
  }
  template <typename T>
  std::vector<T> list(const std::function<T()>& item) {
    std::vector<T> out;
    expect("[");
    if (take("]")) return out;
    do out.push_back(item());
    while (take(","));
    expect("]");
    return out;
  }
  AttrValue attr() {
    skip();
    if (peek("\"")) return quoted();
    if (take("i[")) return --at_, list<int64_t>([&] { return integer(); });
    if (take("f[")) return --at_, list<double>([&] { return real(); });
    if (take("s[")) return --at_, list<std::string>([&] { return quoted(); });
    const size_t start = at_;
    const std::string text = number_text();
    skip();
    if (at_ < text_.size() && text_[at_] == '[') return at_ = start, tensor();
    at_ = start;
    if (text.find_first_of(".en") != std::string::npos) return real();
    return integer();
  }

  ValueId named(Graph& g, const std::string& name) {
    const auto found = names_.back().find(name);
    if (found == names_.back().end()) bad("'" + printable(name) + "' is not defined yet");
    (void)g;
    return found->second;
  }
  // "name: type[shape]"; for a node's output the type may be left to inference (`typed` false
  // then).
  ValueId declare(Graph& g, bool input, bool* typed) {
    const std::string name = word();
    *typed = take(":");
    if (input && !*typed) bad("expected ':'");
    const DType type = *typed ? dtype() : DType::f32;
    Shape dims = *typed ? shape() : Shape{};
    if (names_.back().contains(name)) bad("'" + printable(name) + "' is defined twice");
    const ValueId id =
        input ? g.add_input(name, type, std::move(dims)) : g.add_value(name, type, std::move(dims));
    names_.back()[name] = id;
    return id;
  }

  // "(inputs) -> (outputs) { ... }". `known` has what is known of the inputs' elements: a body
  // reads its constants through them.
  void contents(Graph& g, bool infer,
                const std::vector<std::optional<std::vector<Expr>>>& known = {}) {
    if (names_.size() > kDeepest) bad("bodies nested too deeply");
    names_.emplace_back();
    std::vector<std::string> outputs;
    expect("(");
    if (!take(")")) {
      bool typed = true;
      do declare(g, true, &typed);
      while (take(","));
      expect(")");
    }
    for (size_t i = 0; i < std::min(known.size(), g.inputs.size()); ++i)
      g.value(g.inputs[i]).content = known[i];
    expect("->");
    expect("(");
    if (!take(")")) {
      do outputs.push_back(word());
      while (take(","));
      expect(")");
    }
    expect("{");
    while (!take("}")) statement(g, infer);
    for (const std::string& name : outputs) g.outputs.push_back(named(g, name));
    names_.pop_back();
  }

  void statement(Graph& g, bool infer) {
    if (take_keyword("meta")) {
      const std::string key = quoted();
      g.metadata[key] = quoted();
    } else if (take_keyword("symbol")) {
      symbol(g);
    } else if (take_keyword("guard")) {
      const Expr a = expr("=");
      expect("==");
      g.guards.push_back({a, expr("\n")});
    } else if (take_keyword("const")) {
      const std::string name = word();
      expect(":");
      if (names_.back().contains(name)) bad("'" + printable(name) + "' is defined twice");
      names_.back()[name] = g.add_constant(name, tensor());
    } else {
      node(g, infer);
    }
  }

  void symbol(Graph& g) {
    const std::string name = word();
    Symbol out;
    if (take_keyword("data")) {
      out.kind = SymbolKind::data;
      out.bound = expr("\n");
      out.range = {0, out.bound.bounds(g.symbol_ranges()).high};
    } else {
      if (take_keyword("bind"))
        out.kind = SymbolKind::bind;
      else
        keyword("input");
      skip();
      const size_t dots = text_.find("..", at_);
      if (dots == std::string_view::npos) bad("expected a range like 1..32");
      out.range.low = Expr::parse(text_.substr(at_, dots - at_)).constant();
      at_ = dots + 2;
      if (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])))
        out.range.high = integer();
    }
    g.symbols[name] = out;
  }

  void node(Graph& g, bool infer) {
    Node n;
    std::vector<bool> typed;
    do {
      bool has_type = true;
      n.outputs.push_back(take_keyword("_") ? kNoValue : declare(g, false, &has_type));
      typed.push_back(has_type);
    } while (take(","));
    expect("=");
    if (take_keyword("fusion")) {
      n.family = quoted();
    } else {
      std::string name = word(), domain;
      if (take("::")) {
        domain = name;
        name = word();
      }
      n.op = find_op(domain, name);
      if (!n.op) bad("unknown op '" + printable(name) + "'");
    }
    expect("(");
    if (!take(")")) {
      do n.inputs.push_back(take_keyword("_") ? kNoValue : named(g, word()));
      while (take(","));
      expect(")");
    }
    if (take("{") && !take("}")) {
      do {
        const std::string key = word();
        expect(":");
        n.attrs.set(key, attr());
      } while (take(","));
      expect("}");
    }
    const ValueId named_after = n.outputs[0];
    n.name = take("@")             ? quoted()
             : named_after.valid() ? g.value(named_after).name
                                   : std::string(n.type());
    if (take_keyword("from"))
      n.sources = list<std::string>([&] { return quoted(); });
    else
      n.sources = {n.name};
    while (take_keyword("body")) {
      n.bodies.push_back(std::make_unique<Graph>());
      Graph& body = *n.bodies.back();
      body.name = n.family;
      if (n.is_fusion()) body.symbols = g.symbols;
      std::vector<std::optional<std::vector<Expr>>> known;
      for (ValueId in : n.inputs)
        known.push_back(n.is_fusion() && in.valid() ? g.ints(in) : std::nullopt);
      contents(body, infer, known);
    }
    if (n.is_fusion()) types_of_body(g, n, typed);
    // Declared types are checked against the shape rule, which also gives contents.
    std::vector<std::pair<DType, Shape>> declared;
    for (ValueId v : n.outputs)
      declared.emplace_back(v.valid() ? g.value(v).dtype : DType::f32,
                            v.valid() ? g.value(v).shape : Shape{});
    const auto outs = n.outputs;
    const NodeId id = g.add_raw_node(std::move(n));
    if (!infer) return;
    g.infer(id);
    for (size_t i = 0; i < outs.size(); ++i)
      if (outs[i].valid() && typed[i] &&
          (g.value(outs[i]).dtype != declared[i].first ||
           g.value(outs[i]).shape != declared[i].second))
        bad(fmt::format("'{}' is declared {}{}, inferred {}{}", g.value(outs[i]).name,
                        name_of(declared[i].first), to_string(declared[i].second),
                        name_of(g.value(outs[i]).dtype), to_string(g.value(outs[i]).shape)));
  }

  // A fusion has no shape rule: outputs without a type have that of its body's.
  void types_of_body(Graph& g, const Node& fusion, const std::vector<bool>& typed) {
    if (fusion.bodies.empty()) bad("a fusion needs a body");
    const Graph& body = *fusion.bodies[0];
    if (body.outputs.size() != fusion.outputs.size()) bad("the body has another number of outputs");
    for (size_t i = 0; i < typed.size(); ++i) {
      if (typed[i]) continue;
      Value& out = g.value(fusion.outputs[i]);
      out.dtype = body.value(body.outputs[i]).dtype;
      out.shape = body.value(body.outputs[i]).shape;
    }
  }

  std::string_view text_;
  const std::vector<Tensor>* data_;
  size_t next_data_ = 0;
  size_t at_ = 0;
  std::vector<std::map<std::string, ValueId>> names_;
};

}  // namespace

Graph parse(std::string_view text, const std::vector<Tensor>* data) {
  return Parser(text, data).graph();
}

}  // namespace vitrail::ir
