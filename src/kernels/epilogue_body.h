// SPDX-License-Identifier: Apache-2.0
// Pointwise programs on tiles in cache. Included by the files compiled per ISA.
#pragma once
#include <math.h>  // logf and so on by their C names: no inline wrapper to be kept by the linker

#include "kernels/epilogue.h"
#include "kernels/simd.h"

namespace vitrail {
namespace {

template <typename Op>
inline void unary_loop(const float* a, float* to, int64_t n, Op op) {
  int64_t i = 0;
  for (; i + Vec::kWidth <= n; i += Vec::kWidth) op(Vec::load(a + i)).store(to + i);
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    op(Vec::load_first(a + i, rest)).store_first(to + i, rest);
  }
}
template <typename Op>
inline void binary_loop(const float* a, const float* b, float* to, int64_t n, Op op) {
  int64_t i = 0;
  for (; i + Vec::kWidth <= n; i += Vec::kWidth)
    op(Vec::load(a + i), Vec::load(b + i)).store(to + i);
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    op(Vec::load_first(a + i, rest), Vec::load_first(b + i, rest)).store_first(to + i, rest);
  }
}

/// to[i] = op(a[i], b[i]) for n elements; `to` may be `a` or `b`.
inline void run_instr(Pointwise op, float imm, const float* a, const float* b, float* to,
                      int64_t n) {
  const Vec c = Vec::all(imm), one = Vec::all(1.0f);
  switch (op) {
    case Pointwise::add:
      return binary_loop(a, b, to, n, [](Vec x, Vec y) { return x + y; });
    case Pointwise::sub:
      return binary_loop(a, b, to, n, [](Vec x, Vec y) { return x - y; });
    case Pointwise::mul:
      return binary_loop(a, b, to, n, [](Vec x, Vec y) { return x * y; });
    case Pointwise::div:
      return binary_loop(a, b, to, n, [](Vec x, Vec y) { return x / y; });
    case Pointwise::min:
      return binary_loop(a, b, to, n, [](Vec x, Vec y) { return min(x, y); });
    case Pointwise::max:
      return binary_loop(a, b, to, n, [](Vec x, Vec y) { return max(x, y); });
    case Pointwise::neg:
      return unary_loop(a, to, n, [](Vec x) { return negate(x); });
    case Pointwise::abs:
      return unary_loop(a, to, n, [](Vec x) { return abs(x); });
    case Pointwise::exp:
      return unary_loop(a, to, n, [](Vec x) { return exp(x); });
    case Pointwise::sqrt:
      return unary_loop(a, to, n, [](Vec x) { return sqrt(x); });
    case Pointwise::reciprocal:
      return unary_loop(a, to, n, [=](Vec x) { return one / x; });
    case Pointwise::erf:
      return unary_loop(a, to, n, [](Vec x) { return erf(x); });
    case Pointwise::tanh:
      return unary_loop(a, to, n, [](Vec x) { return tanh(x); });
    case Pointwise::sigmoid:
      return unary_loop(a, to, n, [](Vec x) { return sigmoid(x); });
    case Pointwise::relu:
      return unary_loop(a, to, n, [](Vec x) { return relu(x); });
    case Pointwise::floor:
      return unary_loop(a, to, n, [](Vec x) { return floor(x); });
    case Pointwise::ceil:
      return unary_loop(a, to, n, [](Vec x) { return ceil(x); });
    case Pointwise::round:
      return unary_loop(a, to, n, [](Vec x) { return round_even(x); });
    case Pointwise::swish:
      return unary_loop(a, to, n, [=](Vec x) { return swish(x, c); });
    case Pointwise::gelu:
      return unary_loop(a, to, n, [](Vec x) { return gelu(x); });
    case Pointwise::gelu_tanh:
      return unary_loop(a, to, n, [](Vec x) { return gelu_tanh(x); });
    case Pointwise::leaky_relu:
      return unary_loop(a, to, n, [=](Vec x) { return select(less(x, Vec::zero()), c * x, x); });
    case Pointwise::constant:
      for (int64_t i = 0; i < n; ++i) to[i] = imm;
      return;
    // Rare in vision models, and the C library's are good to 1 ulp.
    case Pointwise::pow:
      for (int64_t i = 0; i < n; ++i) to[i] = ::powf(a[i], b[i]);
      return;
    case Pointwise::log:
      for (int64_t i = 0; i < n; ++i) to[i] = ::logf(a[i]);
      return;
    case Pointwise::sin:
      for (int64_t i = 0; i < n; ++i) to[i] = ::sinf(a[i]);
      return;
    case Pointwise::cos:
      for (int64_t i = 0; i < n; ++i) to[i] = ::cosf(a[i]);
      return;
  }
}

inline void store_row(const float* from, const TileOutput& out, int64_t row, int64_t cols) {
  float* to = out.data + row * out.row;
  if (out.col != 1) {
    for (int64_t j = 0; j < cols; ++j) to[j * out.col] = from[j];
    return;
  }
  for (int64_t j = 0; j < cols; j += Vec::kWidth) {
    const int rest = static_cast<int>(cols - j);
    store_upto(to + j, load_upto(from + j, rest), rest);
  }
}

/// One vector of columns, `n` of them, down all rows of a tile: the bias stays in a register.
template <bool kWhole, bool kBias, bool kResidual, typename Activation>
inline void chain_column(const float* x, int64_t ld, int64_t rows, int n, const float* bias,
                         const float* residual, int64_t residual_row, float* to, int64_t out_row,
                         int64_t out_col, Activation activation) {
  const auto load = [n](const float* p) { return kWhole ? Vec::load(p) : Vec::load_first(p, n); };
  const Vec b = kBias ? load(bias) : Vec::zero();
  for (int64_t i = 0; i < rows; ++i) {
    Vec v = load(x + i * ld);
    if (kBias) v = v + b;
    v = activation(v);
    if (kResidual) v = v + load(residual + i * residual_row);
    float* at = to + i * out_row;
    if (out_col != 1) {
      alignas(64) float lanes[Vec::kWidth];
      v.store(lanes);
      for (int l = 0; l < n; ++l) at[l * out_col] = lanes[l];
    } else if (kWhole) {
      v.store(at);
    } else {
      v.store_first(at, n);
    }
  }
}

template <bool kBias, bool kResidual, typename Activation>
inline void chain_columns(const EpilogueCode& code, const float* tile, int64_t ld, int64_t rows,
                          int64_t cols, const TileOperand* operands, const TileOutput& out,
                          Activation activation) {
  const float* bias = kBias ? operands[code.bias].data : nullptr;
  const TileOperand residual = kResidual ? operands[code.residual] : TileOperand{nullptr, 0, 0};
  int64_t j = 0;
  for (; j + Vec::kWidth <= cols; j += Vec::kWidth)
    chain_column<true, kBias, kResidual>(tile + j, ld, rows, Vec::kWidth, bias + (kBias ? j : 0),
                                         residual.data + (kResidual ? j : 0), residual.row,
                                         out.data + j * out.col, out.row, out.col, activation);
  if (j < cols)
    chain_column<false, kBias, kResidual>(tile + j, ld, rows, static_cast<int>(cols - j),
                                          bias + (kBias ? j : 0),
                                          residual.data + (kResidual ? j : 0), residual.row,
                                          out.data + j * out.col, out.row, out.col, activation);
}

template <typename Activation>
inline void chain_rows(const EpilogueCode& code, const float* tile, int64_t ld, int64_t rows,
                       int64_t cols, const TileOperand* operands, const TileOutput& out,
                       Activation activation) {
  if (code.bias >= 0)
    return code.residual >= 0
               ? chain_columns<true, true>(code, tile, ld, rows, cols, operands, out, activation)
               : chain_columns<true, false>(code, tile, ld, rows, cols, operands, out, activation);
  return code.residual >= 0
             ? chain_columns<false, true>(code, tile, ld, rows, cols, operands, out, activation)
             : chain_columns<false, false>(code, tile, ld, rows, cols, operands, out, activation);
}

/// The operand as a dense tile with leading dimension `ld`, zero beyond `cols`.
inline void gather_operand(const TileOperand& in, int64_t ld, int64_t rows, int64_t cols,
                           float* to) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* from = in.data + i * in.row;
    for (int64_t j = 0; j < ld; j += Vec::kWidth) {
      const int64_t left = cols - j;
      const int rest = static_cast<int>(left < 0 ? 0 : left < Vec::kWidth ? left : Vec::kWidth);
      Vec v = in.col == 0   ? Vec::all(*from)
              : in.col == 1 ? load_upto(from + j, rest)
                            : load_strided(from + j * in.col, in.col, rest);
      store_upto(to + i * ld + j, v, static_cast<int>(ld - j));
    }
  }
}

/// Finishes a tile: rows x cols results at `tile` with leading dimension `ld`, which is overwritten
/// nowhere, through the program to the outputs. Operands may lie where the outputs do (in place).
/// Beyond `cols`, the rest of each row up to `ld` is readable. `scratch`: epilogue_scratch(code,
/// rows * ld) floats, 64-byte aligned.
inline void run_epilogue(const EpilogueCode& code, const float* tile, int64_t ld, int64_t rows,
                         int64_t cols, const TileOperand* operands, const TileOutput* outputs,
                         float* scratch) {
  switch (code.kind) {
    case EpilogueCode::Kind::identity:
      for (int64_t i = 0; i < rows; ++i) store_row(tile + i * ld, outputs[0], i, cols);
      return;
    case EpilogueCode::Kind::chain: {
      const Vec c = Vec::all(code.imm);
      switch (code.activation) {
        case Pointwise::gelu:
          return chain_rows(code, tile, ld, rows, cols, operands, outputs[0],
                            [](Vec x) { return gelu(x); });
        case Pointwise::swish:
          return chain_rows(code, tile, ld, rows, cols, operands, outputs[0],
                            [=](Vec x) { return swish(x, c); });
        case Pointwise::relu:
          return chain_rows(code, tile, ld, rows, cols, operands, outputs[0],
                            [](Vec x) { return relu(x); });
        default:
          return chain_rows(code, tile, ld, rows, cols, operands, outputs[0],
                            [](Vec x) { return x; });
      }
    }
    case EpilogueCode::Kind::program:
      break;
  }
  const int64_t n = rows == 1 ? cols : rows * ld, step = (rows * ld + 15) / 16 * 16;
  // A slot holds a tile: 0 the result, then the operands, then the buffers of the instructions.
  const float* slot[1 + EpilogueCode::kMaxOperands + EpilogueCode::kMaxInstrs];
  slot[0] = tile;
  for (int32_t s = 0; s < code.slots; ++s) slot[1 + s] = scratch + s * step;
  for (int32_t o = 0; o < code.operands; ++o) {
    const TileOperand& in = operands[o];
    if (in.col == 1 && (rows == 1 || (in.row == ld && cols == ld))) {
      slot[1 + o] = in.data;  // already a dense tile
    } else {
      gather_operand(in, ld, rows, cols, scratch + o * step);
    }
  }
  for (int32_t k = 0; k < code.count; ++k) {
    const EpilogueCode::Instr& in = code.code[k];
    float* to = scratch + (in.to - 1) * step;
    // The last value goes straight to a dense output; not earlier ones, whose output may be an
    // operand that is still to be read.
    const bool direct = k + 1 == code.count && code.results == 1 && code.result[0] == in.to &&
                        outputs[0].col == 1 && (rows == 1 || (outputs[0].row == ld && cols == ld));
    run_instr(in.op, in.imm, slot[in.a], slot[in.b], direct ? outputs[0].data : to, n);
    if (direct) return;
  }
  for (int32_t r = 0; r < code.results; ++r)
    for (int64_t i = 0; i < rows; ++i)
      store_row(slot[code.result[r]] + i * ld, outputs[r], i, cols);
}

}  // namespace
}  // namespace vitrail
