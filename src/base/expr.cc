// SPDX-License-Identifier: Apache-2.0
#include "base/expr.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/error.h"

namespace vitrail {

int64_t checked_add(int64_t a, int64_t b) {
  int64_t out;
  require(!__builtin_add_overflow(a, b, &out), Code::bad_input, "{} + {} overflows 64 bits", a, b);
  return out;
}
int64_t checked_mul(int64_t a, int64_t b) {
  int64_t out;
  require(!__builtin_mul_overflow(a, b, &out), Code::bad_input, "{} * {} overflows 64 bits", a, b);
  return out;
}

namespace {
// Far above what shapes need; a hostile text could ask for exponentially many terms.
constexpr size_t kMaxTerms = 1024, kMaxDegree = 64;

int64_t floor_divide(int64_t a, int64_t b) {
  require(b != 0, Code::bad_input, "{} divided by zero in a shape", a);
  require(!(a == INT64_MIN && b == -1), Code::bad_input, "{} / -1 overflows 64 bits", a);
  const int64_t quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

enum class Kind { symbol, floordiv, min, max };

// A factor that the polynomial arithmetic does not look into.
struct Atom {
  Kind kind;
  std::string key;  // canonical text; also the order of atoms
  Expr a, b;        // operands of floordiv, min and max
};
using AtomPtr = std::shared_ptr<const Atom>;

struct Monomial {
  std::vector<AtomPtr> factors;  // sorted by key, with repetition; empty for the constant term
  int64_t coefficient = 0;

  std::string key() const {
    std::string text;
    for (const AtomPtr& factor : factors) text += (text.empty() ? "" : "*") + factor->key;
    return text;
  }
};
}  // namespace

// Sorted by key; no zero coefficients; at least one monomial has factors.
struct Expr::Poly {
  std::vector<Monomial> terms;
  std::string text;
};

struct ExprBuilder {
  using Terms = std::map<std::string, Monomial>;

  static void add(Terms& out, const Expr& e, int64_t scale) {
    if (e.is_constant()) return add_monomial(out, {{}, e.value_}, scale);
    for (const Monomial& term : e.poly_->terms) add_monomial(out, term, scale);
  }
  static void add_monomial(Terms& out, const Monomial& term, int64_t scale) {
    Monomial& slot = out[term.key()];
    slot.factors = term.factors;
    slot.coefficient = checked_add(slot.coefficient, checked_mul(term.coefficient, scale));
  }
  static Expr finish(Terms terms) {
    auto poly = std::make_shared<Expr::Poly>();
    for (auto& [key, term] : terms)
      if (term.coefficient != 0) poly->terms.push_back(std::move(term));
    if (poly->terms.empty()) return Expr(0);
    require(poly->terms.size() <= kMaxTerms, Code::bad_input, "an expression of more than {} terms",
            kMaxTerms);
    if (poly->terms.size() == 1 && poly->terms[0].factors.empty())
      return Expr(poly->terms[0].coefficient);
    // The empty key sorts first; a person reads the constant last.
    if (poly->terms[0].factors.empty())
      std::rotate(poly->terms.begin(), poly->terms.begin() + 1, poly->terms.end());
    for (const Monomial& term : poly->terms) {
      std::string& text = poly->text;
      if (!text.empty()) text += "+";
      if (term.factors.empty())
        text += std::to_string(term.coefficient);
      else
        text += (term.coefficient == 1 ? "" : std::to_string(term.coefficient) + "*") + term.key();
    }
    return Expr(std::shared_ptr<const Expr::Poly>(std::move(poly)));
  }
  static Expr from_atom(Kind kind, std::string key, Expr a, Expr b) {
    Terms terms;
    auto atom =
        std::make_shared<const Atom>(Atom{kind, std::move(key), std::move(a), std::move(b)});
    terms[atom->key] = Monomial{{atom}, 1};
    return finish(std::move(terms));
  }
  static const std::vector<Monomial>& terms(const Expr& e) { return e.poly_->terms; }
  static Expr multiply(const Expr& a, const Expr& b) {
    Terms out;
    const auto terms_of = [](const Expr& e) {
      return e.is_constant() ? std::vector<Monomial>{{{}, e.value_}} : e.poly_->terms;
    };
    const std::vector<Monomial> left = terms_of(a), right = terms_of(b);
    require(left.size() * right.size() <= 16 * kMaxTerms, Code::bad_input,
            "an expression of more than {} terms", kMaxTerms);
    for (const Monomial& x : left)
      for (const Monomial& y : right) {
        require(x.factors.size() + y.factors.size() <= kMaxDegree, Code::bad_input,
                "a product of more than {} factors", kMaxDegree);
        Monomial product{x.factors, checked_mul(x.coefficient, y.coefficient)};
        product.factors.insert(product.factors.end(), y.factors.begin(), y.factors.end());
        std::sort(product.factors.begin(), product.factors.end(),
                  [](const AtomPtr& p, const AtomPtr& q) { return p->key < q->key; });
        add_monomial(out, product, 1);
      }
    return finish(std::move(out));
  }
  static Expr from_terms(const std::vector<Monomial>& list) {
    Terms out;
    for (const Monomial& term : list) add_monomial(out, term, 1);
    return finish(std::move(out));
  }
  // e = divisor * whole + rest, with every term that the monomial divisor divides in `whole`.
  static void split(const Expr& e, const Monomial& divisor, std::vector<Monomial>& whole,
                    std::vector<Monomial>& rest) {
    const auto list = e.is_constant() ? std::vector<Monomial>{{{}, e.value_}} : e.poly_->terms;
    const auto by_key = [](const AtomPtr& p, const AtomPtr& q) { return p->key < q->key; };
    for (const Monomial& term : list) {
      const bool has_factors =
          std::includes(term.factors.begin(), term.factors.end(), divisor.factors.begin(),
                        divisor.factors.end(), by_key);
      if (!has_factors) {
        rest.push_back(term);
        continue;
      }
      std::vector<AtomPtr> left;
      std::set_difference(term.factors.begin(), term.factors.end(), divisor.factors.begin(),
                          divisor.factors.end(), std::back_inserter(left), by_key);
      // Symbolic terms leave the rest of least magnitude: unique, and ceildiv(H, 8) keeps its
      // short form (and tight bounds) instead of H - floordiv(7*H, 8). Constants: 0..divisor-1.
      int64_t quotient = floor_divide(term.coefficient, divisor.coefficient);
      int64_t remainder = term.coefficient - quotient * divisor.coefficient;
      if (!term.factors.empty() && remainder > divisor.coefficient / 2) {
        remainder -= divisor.coefficient;
        ++quotient;
      }
      if (quotient != 0) whole.push_back({left, quotient});
      if (remainder != 0) rest.push_back({term.factors, remainder});
    }
  }
};

Expr::Expr(std::shared_ptr<const Poly> poly) : poly_(std::move(poly)) {}

Expr Expr::symbol(std::string name) {
  require(!name.empty(), Code::bad_input, "a symbol needs a name");
  std::string key = name;
  return ExprBuilder::from_atom(Kind::symbol, std::move(key), 0, 0);
}

int64_t Expr::constant() const {
  require(is_constant(), Code::internal, "'{}' is not a constant", str());
  return value_;
}

Expr operator+(const Expr& a, const Expr& b) {
  if (a.is_constant() && b.is_constant()) return checked_add(a.value_, b.value_);
  ExprBuilder::Terms terms;
  ExprBuilder::add(terms, a, 1);
  ExprBuilder::add(terms, b, 1);
  return ExprBuilder::finish(std::move(terms));
}
Expr operator-(const Expr& a, const Expr& b) { return a + -b; }
Expr Expr::operator-() const { return *this * Expr(-1); }
Expr operator*(const Expr& a, const Expr& b) {
  if (a.is_constant() && b.is_constant()) return checked_mul(a.value_, b.value_);
  return ExprBuilder::multiply(a, b);
}
bool Expr::operator==(const Expr& other) const {
  if (is_constant() != other.is_constant()) return false;
  return is_constant() ? value_ == other.value_ : poly_->text == other.poly_->text;
}
std::string Expr::str() const { return is_constant() ? std::to_string(value_) : poly_->text; }

Expr floordiv(const Expr& a, const Expr& b) {
  if (a.is_constant() && b.is_constant()) return floor_divide(a.constant(), b.constant());
  if (b.is(1)) return a;
  if (a == b) return 1;
  if (a.is(0)) return 0;
  if (b.is_constant() && b.constant() < 0) return floordiv(-a, -b);
  require(!b.is(0), Code::bad_input, "'{}' divided by zero in a shape", a.str());
  std::vector<Monomial> whole, rest;
  if (b.is_constant() || ExprBuilder::terms(b).size() == 1) {
    if (!b.is_constant() && ExprBuilder::terms(b)[0].coefficient < 0) return floordiv(-a, -b);
    const Monomial divisor =
        b.is_constant() ? Monomial{{}, b.constant()} : ExprBuilder::terms(b)[0];
    // floor((q*d + r) / d) = q + floor(r / d) holds for every sign of r.
    ExprBuilder::split(a, divisor, whole, rest);
    if (rest.empty() && !whole.empty()) return ExprBuilder::from_terms(whole);
  }
  const Expr quotient = ExprBuilder::from_terms(whole);
  const Expr left = whole.empty() ? a : ExprBuilder::from_terms(rest);
  if (left.is_constant() && b.is_constant())
    return quotient + Expr(floor_divide(left.constant(), b.constant()));
  // floordiv(floordiv(x, p), q) = floordiv(x, p*q) for positive p, q.
  if (b.is_constant() && !left.is_constant()) {
    const auto& terms = ExprBuilder::terms(left);
    if (terms.size() == 1 && terms[0].coefficient == 1 && terms[0].factors.size() == 1) {
      const Atom& atom = *terms[0].factors[0];
      if (atom.kind == Kind::floordiv && atom.b.is_constant() && atom.b.constant() > 0)
        return quotient + floordiv(atom.a, atom.b * b);
    }
  }
  return quotient + ExprBuilder::from_atom(Kind::floordiv,
                                           "floordiv(" + left.str() + "," + b.str() + ")", left, b);
}
Expr ceildiv(const Expr& a, const Expr& b) { return -floordiv(-a, b); }
Expr mod(const Expr& a, const Expr& b) { return a - b * floordiv(a, b); }

namespace {
Expr extremum(Kind kind, const Expr& a, const Expr& b) {
  const Expr difference = a - b;
  if (difference.is_constant()) return (difference.constant() <= 0) == (kind == Kind::min) ? a : b;
  const bool swap = b.str() < a.str();
  const Expr &first = swap ? b : a, &second = swap ? a : b;
  const char* name = kind == Kind::min ? "min(" : "max(";
  return ExprBuilder::from_atom(kind, name + first.str() + "," + second.str() + ")", first, second);
}
}  // namespace
Expr min(const Expr& a, const Expr& b) { return extremum(Kind::min, a, b); }
Expr max(const Expr& a, const Expr& b) { return extremum(Kind::max, a, b); }

bool divides(const Expr& b, const Expr& a, Expr* quotient) {
  if (b.is(0)) return false;
  const Expr q = floordiv(a, b);
  if (!(q * b == a)) return false;
  *quotient = q;
  return true;
}

int64_t Expr::eval(const Bindings& bindings) const {
  if (is_constant()) return value_;
  const auto value_of = [&](const Atom& atom) -> int64_t {
    if (atom.kind == Kind::symbol) {
      const auto found = bindings.find(atom.key);
      require(found != bindings.end(), Code::bad_input, "symbol '{}' has no value", atom.key);
      return found->second;
    }
    const int64_t a = atom.a.eval(bindings), b = atom.b.eval(bindings);
    if (atom.kind == Kind::floordiv) return floor_divide(a, b);
    return atom.kind == Kind::min ? std::min(a, b) : std::max(a, b);
  };
  int64_t sum = 0;
  for (const Monomial& term : poly_->terms) {
    int64_t product = term.coefficient;
    for (const AtomPtr& factor : term.factors) product = checked_mul(product, value_of(*factor));
    sum = checked_add(sum, product);
  }
  return sum;
}

namespace {
int64_t clamp_bound(__int128 value) {
  const __int128 limit = Interval::kUnbounded;
  return static_cast<int64_t>(value > limit ? limit : value < -limit ? -limit : value);
}
Interval multiply(Interval x, Interval y) {
  const auto product = [](int64_t a, int64_t b) { return static_cast<__int128>(a) * b; };
  const __int128 all[] = {product(x.low, y.low), product(x.low, y.high), product(x.high, y.low),
                          product(x.high, y.high)};
  return {clamp_bound(*std::min_element(all, all + 4)),
          clamp_bound(*std::max_element(all, all + 4))};
}
Interval bounds_of(const Atom& atom, const Ranges& ranges) {
  if (atom.kind == Kind::symbol) {
    const auto found = ranges.find(atom.key);
    return found == ranges.end() ? Interval{} : found->second;
  }
  const Interval a = atom.a.bounds(ranges), b = atom.b.bounds(ranges);
  if (atom.kind == Kind::min) return {std::min(a.low, b.low), std::min(a.high, b.high)};
  if (atom.kind == Kind::max) return {std::max(a.low, b.low), std::max(a.high, b.high)};
  if (b.low <= 0) return {-Interval::kUnbounded, Interval::kUnbounded};
  const auto quotient = [](int64_t x, int64_t y) {
    return x >= Interval::kUnbounded ? x : x <= -Interval::kUnbounded ? x : floor_divide(x, y);
  };
  const int64_t all[] = {quotient(a.low, b.low), quotient(a.low, b.high), quotient(a.high, b.low),
                         quotient(a.high, b.high)};
  return {*std::min_element(all, all + 4), *std::max_element(all, all + 4)};
}
}  // namespace

Interval Expr::bounds(const Ranges& ranges) const {
  if (is_constant()) return {value_, value_};
  __int128 low = 0, high = 0;
  for (const Monomial& term : poly_->terms) {
    Interval product{term.coefficient, term.coefficient};
    for (const AtomPtr& factor : term.factors)
      product = multiply(product, bounds_of(*factor, ranges));
    low += product.low;
    high += product.high;
  }
  Interval out{clamp_bound(low), clamp_bound(high)};
  // With b a positive constant, b * (rest + c * floordiv(a, b)) is b * rest + c * (a - r) with
  // 0 <= r < b. The terms of `a` may cancel others, as in 8 * ceildiv(H, 8) - H >= 0. One such term
  // is replaced here, the next one by the recursion.
  for (const Monomial& term : poly_->terms) {
    if (term.factors.size() != 1 || term.factors[0]->kind != Kind::floordiv) continue;
    const Atom& atom = *term.factors[0];
    if (!atom.b.is_constant() || atom.b.constant() <= 0) continue;
    const int64_t b = atom.b.constant(), c = term.coefficient;
    try {
      const Expr rest = *this - Expr(c) * floordiv(atom.a, atom.b);
      const Interval scaled = (atom.b * rest + Expr(c) * atom.a).bounds(ranges);
      const __int128 most = static_cast<__int128>(c) * (b - 1);  // c * r at its other end
      if (scaled.low > -Interval::kUnbounded)
        out.low =
            std::max(out.low, -floor_divide(-clamp_bound(scaled.low - (c > 0 ? most : 0)), b));
      if (scaled.high < Interval::kUnbounded)
        out.high =
            std::min(out.high, floor_divide(clamp_bound(scaled.high - (c > 0 ? 0 : most)), b));
    } catch (const Error&) {
      // The scaled expression leaves int64: the plain bounds stand.
    }
    break;
  }
  return out;
}

Expr Expr::substitute(const std::map<std::string, Expr, std::less<>>& values) const {
  if (is_constant()) return *this;
  Expr sum = 0;
  for (const Monomial& term : poly_->terms) {
    Expr product = term.coefficient;
    for (const AtomPtr& factor : term.factors) {
      const Atom& atom = *factor;
      Expr replaced;
      if (atom.kind == Kind::symbol) {
        const auto found = values.find(atom.key);
        replaced = found == values.end() ? symbol(atom.key) : found->second;
      } else {
        const Expr a = atom.a.substitute(values), b = atom.b.substitute(values);
        replaced = atom.kind == Kind::floordiv ? floordiv(a, b)
                   : atom.kind == Kind::min    ? min(a, b)
                                               : max(a, b);
      }
      product *= replaced;
    }
    sum += product;
  }
  return sum;
}

void Expr::collect_symbols(std::set<std::string>& out) const {
  if (is_constant()) return;
  for (const Monomial& term : poly_->terms)
    for (const AtomPtr& factor : term.factors) {
      if (factor->kind == Kind::symbol) out.insert(factor->key);
      factor->a.collect_symbols(out);
      factor->b.collect_symbols(out);
    }
}

namespace {
// sum := product (('+'|'-') product)*;  product := unary ('*' unary)*
struct Parser {
  std::string_view text;
  size_t at = 0;
  int depth = 0;

  [[noreturn]] void bad(const char* what) {
    fail(Code::bad_input, "expression '{}': {} at position {}", printable(std::string(text)), what,
         at);
  }
  void skip() {
    while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) ++at;
  }
  bool take(char c) {
    skip();
    if (at < text.size() && text[at] == c) return ++at, true;
    return false;
  }
  Expr sum() {
    if (++depth > 64) bad("too deeply nested");
    Expr left = product();
    for (;;) {
      if (take('+'))
        left = left + product();
      else if (take('-'))
        left = left - product();
      else
        break;
    }
    --depth;
    return left;
  }
  Expr product() {
    Expr left = unary();
    while (take('*')) left = left * unary();
    return left;
  }
  Expr unary() {
    if (take('-')) {
      if (++depth > 64) bad("too deeply nested");
      Expr inner = -unary();
      --depth;
      return inner;
    }
    if (take('(')) {
      Expr inner = sum();
      if (!take(')')) bad("expected ')'");
      return inner;
    }
    skip();
    const size_t start = at;
    if (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at]))) {
      int64_t value = 0;
      while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])))
        value = checked_add(checked_mul(value, 10), text[at++] - '0');
      return value;
    }
    const auto name_char = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '$' ||
             c == '/';
    };
    while (at < text.size() && name_char(text[at])) ++at;
    if (at == start) bad("expected a number, a name or '('");
    const std::string name(text.substr(start, at - start));
    if (!take('(')) return Expr::symbol(name);
    const Expr a = sum();
    if (!take(',')) bad("expected ','");
    const Expr b = sum();
    if (!take(')')) bad("expected ')'");
    if (name == "floordiv") return floordiv(a, b);
    if (name == "ceildiv") return ceildiv(a, b);
    if (name == "mod") return mod(a, b);
    if (name == "min") return min(a, b);
    if (name == "max") return max(a, b);
    bad("unknown function");
  }
};
}  // namespace

Expr Expr::parse(std::string_view text) {
  Parser parser{text};
  Expr out = parser.sum();
  parser.skip();
  if (parser.at != text.size()) parser.bad("unexpected text");
  return out;
}

}  // namespace vitrail
