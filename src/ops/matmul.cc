// SPDX-License-Identifier: Apache-2.0
// ONNX MatMul-13 (numpy.matmul) and Gemm-13.
#include "ops/contraction.h"
#include "ops/elementwise.h"

namespace vitrail {
namespace {
void require_matmul_type(InferContext& ctx) {
  const DType t = ctx.in(0).dtype;
  require(is_float(t) || t == DType::i32 || t == DType::i64 || t == DType::u32 || t == DType::u64,
          Code::bad_input, "inputs are {}, expected a float type or integers of 32 or 64 bits",
          name_of(t));
  require_type_of_first(ctx, 1);
}
template <typename Action>
void with_matmul_type(DType dtype, const char* what, Action&& action) {
  switch (dtype) {
    case DType::f32:
      return action(float{});
    case DType::f64:
      return action(double{});
    case DType::i32:
      return action(int32_t{});
    case DType::i64:
      return action(int64_t{});
    case DType::u32:
      return action(uint32_t{});
    case DType::u64:
      return action(uint64_t{});
    default:
      fail(Code::unsupported, "{}: element type {}", what, name_of(dtype));
  }
}

void infer(InferContext& ctx) {
  require_matmul_type(ctx);
  infer_matmul_shape(ctx);
  ctx.out().dtype = ctx.in(0).dtype;
}
void reference(RunContext& ctx) {
  const MatmulShape s = matmul_shape(ctx.in(0).dims(), ctx.in(1).dims(), dims_by_rule(ctx, infer));
  with_matmul_type(ctx.in(0).dtype(), "MatMul", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(ctx.in(0).dtype(), s.out_dims);
    multiply(s, ctx.in(0).data<T>(), ctx.in(1).data<T>(), ctx.out().mutable_data<T>());
  });
}
std::vector<Sample> samples() {
  const auto ints = [](Dims dims) {
    return SampleInput{.dtype = DType::i32, .dims = std::move(dims), .low = -9, .high = 9};
  };
  return {{.inputs = {{.dims = {5, 7}}, {.dims = {7, 3}}}},
          {.inputs = {{.dims = {2, 1, 5, 7}}, {.dims = {3, 7, 4}}}},
          {.inputs = {{.dims = {2, 5, 7}}, {.dims = {7, 4}}}},
          {.inputs = {{.dims = {7}}, {.dims = {2, 7, 3}}}},
          {.inputs = {{.dims = {2, 5, 7}}, {.dims = {7}}}},
          {.inputs = {{.dims = {7}}, {.dims = {7}}}},
          {.inputs = {{.dims = {3, 0}}, {.dims = {0, 2}}}},
          {.inputs = {ints({3, 4}), ints({4, 2})}}};
}

void infer_gemm(InferContext& ctx) {
  require_matmul_type(ctx);
  const ValueInfo &a = ctx.in(0), &b = ctx.in(1);
  require(a.rank() == 2 && b.rank() == 2, Code::bad_input,
          "inputs have shapes {} and {}, expected two matrices", to_string(a.shape),
          to_string(b.shape));
  const size_t ta = ctx.attrs.integer("transA", 0) != 0, tb = ctx.attrs.integer("transB", 0) != 0;
  unify(ctx, a.shape[1 - ta], b.shape[tb], "columns of the first and rows of the second matrix");
  ctx.out().dtype = a.dtype;
  ctx.out().shape = {a.shape[ta], b.shape[1 - tb]};
  if (!ctx.has(2)) return;
  require_type_of_first(ctx, 2);
  const Shape& out = ctx.out().shape;
  const Shape both = ctx.broadcast(ctx.in(2).shape, out);
  require(both.size() == 2, Code::bad_input, "C of shape {} does not broadcast to {}",
          to_string(ctx.in(2).shape), to_string(out));
  for (size_t i = 0; i < 2; ++i) unify(ctx, both[i], out[i], "extents of C and of the product");
}
// alpha * product + beta * c: floats round once, integers truncate each scaled part.
template <typename T>
T scaled_sum(double alpha, T product, double beta, T c) {
  if constexpr (std::is_floating_point_v<T>)
    return static_cast<T>(alpha * static_cast<double>(product) + beta * static_cast<double>(c));
  const auto scaled = [](double factor, T x) {
    if (factor == 1) return x;
    return Tensor::scalar(factor * static_cast<double>(x))
        .cast(dtype_of<T>())
        .template data<T>()[0];
  };
  return wrapping(scaled(alpha, product), scaled(beta, c), [](auto x, auto y) { return x + y; });
}
void gemm(RunContext& ctx) {
  const Dims dims = dims_by_rule(ctx, infer_gemm);
  const double alpha = ctx.attrs.number("alpha", 1.0), beta = ctx.attrs.number("beta", 1.0);
  const Tensor a = ctx.attrs.integer("transA", 0) ? transposed(ctx.in(0)) : ctx.in(0);
  const Tensor b = ctx.attrs.integer("transB", 0) ? transposed(ctx.in(1)) : ctx.in(1);
  const MatmulShape s = matmul_shape(a.dims(), b.dims(), dims);
  with_matmul_type(a.dtype(), "Gemm", [&](auto tag) {
    using T = decltype(tag);
    ctx.out() = Tensor(a.dtype(), dims);
    T* out = ctx.out().mutable_data<T>();
    multiply(s, a.data<T>(), b.data<T>(), out);
    const T zero{};
    const T* c = ctx.has(2) ? ctx.in(2).data<T>() : &zero;
    for (BroadcastRows row(dims, {ctx.has(2) ? ctx.in(2).dims() : Dims{}}); !row.done(); row.next())
      for (int64_t i = 0; i < row.length(); ++i, ++out)
        *out = scaled_sum(alpha, *out, beta, c[row.at(0) + i * row.step(0)]);
  });
}
std::vector<Sample> gemm_samples() {
  return {
      {.inputs = {{.dims = {5, 7}}, {.dims = {7, 3}}, {.dims = {3}}}},
      {.inputs = {{.dims = {7, 5}}, {.dims = {3, 7}}, {.dims = {5, 1}}},
       .attrs = {{"transA", int64_t{1}}, {"transB", int64_t{1}}, {"alpha", 0.5}, {"beta", -2.0}}},
      {.inputs = {{.dims = {5, 7}}, {.dims = {7, 3}}}, .attrs = {{"alpha", 3.0}}},
      {.inputs = {{.dims = {5, 7}}, {.dims = {7, 3}}, {.dims = {}}}}};
}
}  // namespace
extern const OpDef matmul_op{.name = "MatMul",
                             .domain = "",
                             .version = 13,
                             .attrs = {},
                             .min_inputs = 2,
                             .max_inputs = 2,
                             .min_outputs = 1,
                             .max_outputs = 1,
                             .traits = {.reduction = true},
                             .infer = infer,
                             .reference = reference,
                             .samples = samples};
extern const OpDef gemm_op{.name = "Gemm",
                           .domain = "",
                           .version = 13,
                           .attrs = {{"alpha", AttrKind::number},
                                     {"beta", AttrKind::number},
                                     {"transA", AttrKind::integer},
                                     {"transB", AttrKind::integer}},
                           .min_inputs = 2,
                           .max_inputs = 3,
                           .min_outputs = 1,
                           .max_outputs = 1,
                           .traits = {.reduction = true},
                           .infer = infer_gemm,
                           .reference = gemm,
                           .samples = gemm_samples};
}  // namespace vitrail
