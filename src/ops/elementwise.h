// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <limits>

#include "ops/op.h"
#include "ops/parallel.h"

// Shared by the elementwise op files: shape rules, contents, broadcasting loops.
namespace vitrail {

// ---------------------------------------------------------------- shape rules
/// Output has the shape and type of input 0.
void infer_same(InferContext& ctx);
/// The same, for float inputs only.
void infer_float(InferContext& ctx);
/// The same, for float and integer inputs.
void infer_numeric(InferContext& ctx);
/// Throws Error(bad_input) unless input `i` is a float / a float or an integer.
void require_float(InferContext& ctx, size_t i = 0);
void require_numeric(InferContext& ctx, size_t i = 0);
/// Throws Error(bad_input) unless inputs `i` and 0 have one type.
void require_same_type(InferContext& ctx, size_t i);

/// Symbolic value of an element from those of the operands, or nothing when it has no expression.
/// The ranges are those of the symbols.
using Combine = std::optional<Expr> (*)(const Expr&, const Expr&, const Ranges&);
/// Output is the broadcast of inputs 0 and 1 in the type of input 0; contents are combined with
/// `combine` when both are known.
void infer_broadcast(InferContext& ctx, Combine combine = nullptr);
/// Contents of two broadcast operands combined; nothing when one is unknown or has no expression.
std::optional<std::vector<Expr>> combine_contents(const ValueInfo& a, const ValueInfo& b,
                                                  Combine combine, const Ranges& ranges);
/// The same for one operand.
std::optional<std::vector<Expr>> map_content(const ValueInfo& a,
                                             std::optional<Expr> (*f)(const Expr&, const Ranges&),
                                             const Ranges& ranges);
/// Sets the content of an output whose type is set, unless that type rounds or wraps some element:
/// types of 16 bits or less keep none.
void set_content(ValueInfo& out, std::optional<std::vector<Expr>> content);
/// C++'s a / b (towards zero) where the signs of both are known, otherwise nothing.
std::optional<Expr> truncating_div(const Expr& a, const Expr& b, const Ranges& ranges);

// ---------------------------------------------------------------- loops
/// Walks a broadcast row by row. Extents that every input walks alike are merged, so rows are long.
///
///     for (BroadcastRows row(out, {a.dims(), b.dims()}); !row.done(); row.next())
///       for (int64_t i = 0; i < row.length(); ++i) use(a[row.at(0) + i * row.step(0)], ...);
///
/// Rows come in the dense order of the output.
class BroadcastRows {
 public:
  BroadcastRows(const Dims& out, const std::vector<Dims>& inputs);
  bool done() const { return left_ == 0; }
  void next();
  int64_t length() const { return extents_.back(); }
  /// First element of the row in input k, and the distance (0 or 1 dense step) between elements.
  int64_t at(size_t k) const { return at_[k]; }
  int64_t step(size_t k) const { return strides_[k].back(); }

 private:
  Dims extents_;               // merged; the last one is the row
  std::vector<Dims> strides_;  // of each input, in the merged extents
  Dims index_, at_;
  int64_t left_ = 0;
};

/// out[i] = f(in0[i]) for float and double.
template <typename F>
void map_float(RunContext& ctx, const char* op, F f) {
  const Tensor& x = ctx.in(0);
  with_float_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    const T* from = x.data<T>();
    T* to = ctx.out().mutable_data<T>();
    parallel_ranges(x.size(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = static_cast<T>(f(from[i]));
    });
  });
}
/// out[i] = f(in0[i]) for every type; `Out` is the element type of the result, void for that of
/// the input.
template <typename Out = void, typename F>
void map_any(RunContext& ctx, const char* op, F f) {
  const Tensor& x = ctx.in(0);
  with_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    using R = std::conditional_t<std::is_void_v<Out>, T, Out>;
    ctx.out() = Tensor(dtype_of<R>(), x.dims());
    const T* from = x.data<T>();
    R* to = ctx.out().mutable_data<R>();
    parallel_ranges(x.size(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = static_cast<R>(f(from[i]));
    });
  });
}

/// f(a[i], b[i]) with broadcasting for tensors of one type; `Out` as above.
template <typename Out = void, typename F>
Tensor broadcast_tensors(const Tensor& a, const Tensor& b, const char* op, F f) {
  require(a.dtype() == b.dtype(), Code::bad_input, "{}: inputs are {} and {}", op,
          name_of(a.dtype()), name_of(b.dtype()));
  const Dims dims = broadcast(a.dims(), b.dims());
  Tensor out;
  with_type(a.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    using R = std::conditional_t<std::is_void_v<Out>, T, Out>;
    out = Tensor(dtype_of<R>(), dims);
    R* to = out.mutable_data<R>();
    const T *from_a = a.data<T>(), *from_b = b.data<T>();
    for (BroadcastRows row(dims, {a.dims(), b.dims()}); !row.done(); row.next()) {
      const T *pa = from_a + row.at(0), *pb = from_b + row.at(1);
      parallel_ranges(row.length(), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          to[i] = static_cast<R>(f(pa[i * row.step(0)], pb[i * row.step(1)]));
      });
      to += row.length();
    }
  });
  return out;
}
/// The same for inputs 0 and 1 of a reference.
template <typename Out = void, typename F>
void map_broadcast(RunContext& ctx, const char* op, F f) {
  ctx.out() = broadcast_tensors<Out>(ctx.in(0), ctx.in(1), op, f);
}

/// f on integers of the type T through unsigned 64 bits, so that overflow wraps as two's
/// complement (in C++ it is undefined); on floats as it is.
template <typename T, typename F>
T wrapping(T a, T b, F f) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(f(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  else
    return f(a, b);
}

/// A number as an element: integers truncate and saturate (NaN: 0), where C++ leaves what is out of
/// range undefined; floats round.
template <typename T>
T to_element(double value) {
  if constexpr (std::is_integral_v<T>) {
    using Limits = std::numeric_limits<T>;
    if (std::isnan(value)) return T{0};
    if (value <= static_cast<double>(Limits::min())) return Limits::min();
    if (value >= static_cast<double>(Limits::max())) return Limits::max();
  }
  return static_cast<T>(value);
}

// ---------------------------------------------------------------- definitions
/// An op of one input and one output of equal shape.
OpDef unary_op(const char* name, int version, void (*reference)(RunContext&),
               std::vector<Sample> (*samples)(), Traits traits = {.elementwise = true},
               std::vector<AttrSpec> attrs = {}, void (*infer)(InferContext&) = infer_float);
/// An op of two inputs that broadcast.
OpDef binary_op(const char* name, int version, void (*infer)(InferContext&),
                void (*reference)(RunContext&), std::vector<Sample> (*samples)(),
                Traits traits = {.elementwise = true}, std::vector<AttrSpec> attrs = {});

}  // namespace vitrail
