// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/samples.h"

namespace vitrail {
namespace {

Operand dense(Shape dims) {
  Operand out;
  out.strides = row_major(dims);
  out.dims = std::move(dims);
  return out;
}

/// Strides of a window of `dims` inside a buffer whose innermost axis has `pitch` elements.
Operand window(Shape dims, int64_t pitch) {
  Operand out = dense(dims);
  Shape wide = dims;
  wide.back() = pitch;
  out.strides = row_major(wide);
  return out;
}

Operand weight(int64_t k, int64_t n) {
  Operand out = dense({k, n});
  out.constant = true;
  return out;
}

Problem constant_b(Shape rows, int64_t k, int64_t n, int epilogue) {
  Problem p;
  p.family = "gemm";
  Shape a = rows, c = rows;
  a.push_back(k);
  c.push_back(n);
  p.inputs = {dense(a), weight(k, n)};
  p.outputs = {dense(c)};
  p.epilogue_inputs = 2;
  add_sample_epilogue(p, epilogue);
  return p;
}

/// Rows of A are normalized, a shift is added.
Problem normalized(Shape rows, int64_t k, int64_t n, int epilogue) {
  Problem p = constant_b(std::move(rows), k, n, 0);
  Operand shift = dense({n});
  shift.constant = true;
  p.inputs.push_back(shift);
  p.epilogue_inputs = 3;
  p.ints["normalize"] = 1;
  p.floats["eps"] = 1e-5;
  add_sample_epilogue(p, epilogue);
  return p;
}

/// B of each batch: row-major, or transposed (k stride 1) as the keys of an attention are.
Problem dynamic_b(const Expr& batch, const Expr& m, const Expr& k, const Expr& n, bool transposed,
                  bool shared) {
  Problem p;
  p.family = "gemm";
  Operand b = dense({batch, k, n});
  if (transposed) b.strides = {k * n, 1, k};
  if (shared) b.strides[0] = 0;
  p.inputs = {dense({batch, m, k}), b};
  p.outputs = {dense({batch, m, n})};
  p.epilogue_inputs = 2;
  return p;
}

BenchCase normalized_case(int64_t m, int64_t n, int64_t k) {
  return {fmt::format("norm+{}x{}x{}+gelu", m, n, k), normalized({m}, k, n, 2)};
}

BenchCase bench_case(int64_t m, int64_t n, int64_t k, int epilogue = 1) {
  return {fmt::format("{}x{}x{}{}", m, n, k,
                      epilogue == 2   ? "+gelu"
                      : epilogue == 5 ? "+residual"
                                      : ""),
          constant_b({m}, k, n, epilogue)};
}

}  // namespace

void add_sample_epilogue(Problem& p, int which) {
  using enum Pointwise;
  const Shape dims = p.outputs[0].dims;
  Operand bias = dense(dims), residual = dense(dims);
  for (size_t d = 0; d + 1 < dims.size(); ++d) bias.strides[d] = 0;
  Operand column = residual;
  column.strides.back() = 0;
  const auto set = [&](std::vector<Operand> operands, std::vector<PointwiseInstr> code) {
    p.epilogue.inputs = 1 + static_cast<int>(operands.size());
    for (Operand& o : operands) p.inputs.push_back(std::move(o));
    const auto last = static_cast<int16_t>(p.epilogue.inputs + static_cast<int>(code.size()) - 1);
    p.epilogue.code = std::move(code);
    p.epilogue.results = {last};
  };
  switch (which) {
    case 0:
      return;
    case 1:
      return set({bias}, {{add, 0, 1}});
    case 2:
      return set({bias}, {{add, 0, 1}, {gelu, 2}});
    case 3:
      return set({bias}, {{add, 1, 0}, {swish, 2, 0, 1.702f}});
    case 4:
      return set({}, {{relu, 0}});
    case 5:
      return set({bias, residual}, {{add, 0, 1}, {add, 2, 3}});
    case 6:
      return set({residual, bias}, {{add, 0, 2}, {gelu, 3}, {add, 4, 1}});
    // Interpreted: a gate, a column that repeats, a value used twice, buffers used again.
    case 7:
      return set({residual, column},
                 {{sigmoid, 1}, {mul, 0, 3}, {add, 4, 2}, {tanh, 5}, {mul, 6, 5}, {sub, 7, 3}});
    // Two outputs: the sum before and after the activation.
    default: {
      set({bias}, {{add, 0, 1}, {gelu_tanh, 2}});
      p.epilogue.results = {2, 3};
      p.outputs.push_back(dense(dims));
    }
  }
}

std::vector<Problem> gemm_samples() {
  std::vector<Problem> out;
  const Expr m = Expr::symbol("m"), b = Expr::symbol("b"), k = Expr::symbol("k"),
             n = Expr::symbol("n");
  // Widths around a panel and a vector, depths around a chunk.
  const int64_t widths[] = {1, 3, 8, 15, 16, 17, 31, 32, 33, 48, 62, 64, 100, 124, 130};
  const int64_t depths[] = {1, 31, 64, 7, 385, 48, 3, 200, 31, 800, 5, 16, 97, 31, 64};
  for (int e = 0; e < kSampleEpilogues; ++e)
    for (size_t i = static_cast<size_t>(e) % 2; i < std::size(widths); i += 2)
      out.push_back(
          constant_b({m}, depths[(i + static_cast<size_t>(e)) % std::size(depths)], widths[i], e));
  out.push_back(constant_b({b, m}, 33, 65, 5));
  out.push_back(constant_b({b, 1}, 96, 50, 1));
  out.push_back(constant_b({197}, 96, 96, 2));
  // Enough tiles for blocks that make several.
  out.push_back(constant_b({2189}, 192, 512, 5));
  out.push_back(constant_b({1501}, 64, 768, 3));
  Problem tanh = constant_b({m}, 40, 32, 8);  // one result alone
  tanh.outputs.pop_back();
  tanh.epilogue.results = {3};
  out.push_back(tanh);
  // Windows: A out of wider rows, the output into wider rows, a class token left out.
  Problem windows = constant_b({b, m}, 20, 31, 5);
  windows.inputs[0] = window(windows.inputs[0].dims, 25);
  windows.outputs[0] = window(windows.outputs[0].dims, 40);
  out.push_back(windows);
  Problem token = constant_b({b, m}, 20, 31, 6);
  token.inputs[0].strides = {(m + 1) * 20, 20, 1};
  token.outputs[0].strides = {(m + 2) * 31, 31, 1};
  out.push_back(token);
  // Channels first: columns of the output are rows in memory.
  for (int e : {0, 2, 7}) {
    Problem transposed = constant_b({b, m}, 24, 19, e);
    transposed.outputs[0].strides = {m * 19, 1, m};
    out.push_back(transposed);
  }
  for (const bool keys : {false, true})
    for (const bool shared : {false, true}) out.push_back(dynamic_b(b, m, k, n, keys, shared));
  Problem heads = dynamic_b(b, m, 33, 21, true, false);
  add_sample_epilogue(heads, 2);
  out.push_back(heads);
  // Depths around steps of 32, 64 and 128, widths around a tile's columns.
  const int64_t normal_widths[] = {64, 31, 40, 130, 8, 97, 256, 1, 96},
                normal_depths[] = {64, 33, 384, 197, 40, 512, 192, 31, 129};
  for (int e = 0; e < kSampleEpilogues; ++e)
    for (size_t i = static_cast<size_t>(e) % 3; i < std::size(normal_widths); i += 3)
      out.push_back(normalized({m}, normal_depths[i], normal_widths[i], e));
  Problem normal_token = normalized({b, m}, 72, 48, 5);
  normal_token.inputs[0].strides = {(m + 1) * 80, 80, 1};
  out.push_back(normal_token);
  out.push_back(normalized({197}, 96, 96, 2));
  // Heads inside token rows: [image, head, token, channel] strided views of one projection.
  Problem views;
  views.family = "gemm";
  views.epilogue_inputs = 2;
  views.inputs = {{DType::f32, {b, 3, m, 8}, {m * 24, 8, 24, 1}},
                  {DType::f32, {b, 3, 8, m}, {m * 24, 8, 1, 24}}};
  views.outputs = {dense({b, 3, m, m})};
  out.push_back(views);
  return out;
}

std::vector<BenchCase> gemm_bench() {
  return {// CvT-13 at 224: stages of 56, 28 and 14 x 14 tokens
          bench_case(3136, 64, 64), bench_case(3136, 256, 64, 2), bench_case(3136, 64, 256, 5),
          bench_case(784, 192, 192), bench_case(784, 768, 192, 2), bench_case(784, 192, 768, 5),
          bench_case(197, 384, 384), bench_case(197, 1152, 384), bench_case(197, 1536, 384, 2),
          bench_case(197, 384, 1536, 5), bench_case(1, 1000, 384), normalized_case(3136, 256, 64),
          normalized_case(784, 768, 192), normalized_case(197, 1536, 384),
          // MST++ at 512 x 488
          bench_case(249856, 31, 31), bench_case(249856, 124, 31, 2), bench_case(62464, 62, 62),
          bench_case(15616, 496, 124, 2), bench_case(65536, 124, 31)};
}

}  // namespace vitrail
