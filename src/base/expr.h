// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace vitrail {

/// Values of symbols, by name.
using Bindings = std::map<std::string, int64_t, std::less<>>;

/// Inclusive bounds of an integer; kUnbounded stands for "no upper bound known".
struct Interval {
  static constexpr int64_t kUnbounded = INT64_MAX / 4;
  int64_t low = 0;
  int64_t high = kUnbounded;
  bool operator==(const Interval&) const = default;
};
using Ranges = std::map<std::string, Interval, std::less<>>;

/// An integer expression over named symbols: sums of products of symbols, floordiv, min and max.
///
/// Kept in canonical form, so that equal text means equal value and most equal values have equal
/// text: polynomials are expanded and sorted, ceildiv(a, b) is -floordiv(-a, b), mod(a, b) is
/// a - b * floordiv(a, b), and multiples of a constant divisor leave the floordiv:
/// floordiv(8*h + 3, 4) is 2*h. With these rules H + mod(8 - mod(H, 8), 8) and 8 * ceildiv(H, 8)
/// are the same expression.
///
/// Arithmetic on constants that leaves int64 throws Error(bad_input).
class Expr {
 public:
  Expr(int64_t value = 0) : value_(value) {}  // NOLINT: a number is an expression
  static Expr symbol(std::string name);
  /// Reads the text form of `str()` plus parentheses, floordiv, ceildiv, mod, min, max.
  static Expr parse(std::string_view text);

  bool is_constant() const { return poly_ == nullptr; }
  /// The value of a constant expression; throws Error(internal) for another.
  int64_t constant() const;
  bool is(int64_t value) const { return is_constant() && value_ == value; }

  friend Expr operator+(const Expr& a, const Expr& b);
  friend Expr operator-(const Expr& a, const Expr& b);
  friend Expr operator*(const Expr& a, const Expr& b);
  Expr operator-() const;
  Expr& operator+=(const Expr& other) { return *this = *this + other; }
  Expr& operator*=(const Expr& other) { return *this = *this * other; }
  bool operator==(const Expr& other) const;

  /// Canonical text, for example "4*N*h + -1*floordiv(-1*H,8) + 3".
  std::string str() const;
  /// Throws Error(bad_input) for an unbound symbol, a division by zero or an overflow.
  int64_t eval(const Bindings& bindings) const;
  /// Conservative bounds, given those of the symbols (missing: 0..unbounded).
  Interval bounds(const Ranges& ranges) const;
  Expr substitute(const std::map<std::string, Expr, std::less<>>& values) const;
  void collect_symbols(std::set<std::string>& out) const;

  struct Poly;

 private:
  explicit Expr(std::shared_ptr<const Poly> poly);
  friend struct ExprBuilder;
  int64_t value_ = 0;
  std::shared_ptr<const Poly> poly_;  // null for constants
};

/// Quotient rounded towards minus infinity; a constant zero divisor throws Error(bad_input).
Expr floordiv(const Expr& a, const Expr& b);
Expr ceildiv(const Expr& a, const Expr& b);
Expr mod(const Expr& a, const Expr& b);
Expr min(const Expr& a, const Expr& b);
Expr max(const Expr& a, const Expr& b);
/// a / b when the division is known to leave no rest (symbolically), otherwise floordiv(a, b).
bool divides(const Expr& b, const Expr& a, Expr* quotient);

// Checked int64 arithmetic; throws Error(bad_input) on overflow.
int64_t checked_add(int64_t a, int64_t b);
int64_t checked_mul(int64_t a, int64_t b);

}  // namespace vitrail
