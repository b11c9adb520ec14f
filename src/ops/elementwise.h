// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ops/op.h"

// Shared by the elementwise op files: shape rules, broadcasting loops.
namespace vitrail {

/// Output has the shape and type of input 0.
void infer_same(InferContext& ctx);
/// Output is the broadcast of inputs 0 and 1 in the type of input 0; contents are combined with
/// `combine` when both are known.
void infer_broadcast(InferContext& ctx, Expr (*combine)(const Expr&, const Expr&) = nullptr);

/// Index of element `i` of the broadcast shape `out` in a dense tensor of extents `in`.
class BroadcastIndex {
 public:
  BroadcastIndex(const Dims& in, const Dims& out);
  int64_t operator()(int64_t i) const;

 private:
  Dims out_strides_, in_strides_;
};

/// out[i] = f(in0[i]) for float and double.
template <typename F>
void map_float(RunContext& ctx, const char* op, F f) {
  const Tensor& x = ctx.in(0);
  with_float_type(x.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(x.dtype(), x.dims());
    T* to = ctx.out().mutable_data<T>();
    for (int64_t i = 0; i < x.size(); ++i) to[i] = f(x.data<T>()[i]);
  });
}

/// out[i] = f(in0[i], in1[i]) with broadcasting; `Out` is the element type of the result, void for
/// that of the inputs.
template <typename Out = void, typename F>
void map_broadcast(RunContext& ctx, const char* op, F f) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  require(a.dtype() == b.dtype(), Code::bad_input, "{}: inputs are {} and {}", op, name_of(a.dtype()), name_of(b.dtype()));
  const Dims dims = broadcast(a.dims(), b.dims());
  const BroadcastIndex at_a(a.dims(), dims), at_b(b.dims(), dims);
  with_type(a.dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    using R = std::conditional_t<std::is_void_v<Out>, T, Out>;
    ctx.out() = Tensor(dtype_of<R>(), dims);
    R* to = ctx.out().mutable_data<R>();
    const T *pa = a.data<T>(), *pb = b.data<T>();
    for (int64_t i = 0; i < ctx.out().size(); ++i) to[i] = static_cast<R>(f(pa[at_a(i)], pb[at_b(i)]));
  });
}

}  // namespace vitrail
