// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/problem.h"

namespace vitrail {

/// A pointwise program as plain numbers, which the bodies compiled per ISA can read without
/// touching a container. Made when a kernel is bound, run on tiles by run_epilogue
/// (epilogue_body.h).
struct EpilogueCode {
  static constexpr int kMaxOperands = 8, kMaxInstrs = 48, kMaxResults = 4;
  struct Instr {
    Pointwise op;
    int16_t a, b, to;  ///< slots
    float imm;
  };
  /// identity: tile to output. chain: result = activation(x + bias) + residual with any part
  /// absent, one pass over the row. program: instruction by instruction over the whole tile.
  enum class Kind : int32_t { identity, chain, program };

  Kind kind;
  int32_t operands, count, results;
  int32_t slots;           ///< buffers of a tile's size that `program` needs beside the tile
  int32_t bias, residual;  ///< chain: index of the operand, or -1
  Pointwise activation;    ///< chain: gelu, swish, relu; `constant` for none
  float imm;               ///< of the activation
  Instr code[kMaxInstrs];
  int16_t result[kMaxResults];  ///< slots; 0 is the tile, 1 + i operand i, then the buffers

  /// Chains without an activation can be added to accumulators before they are stored.
  bool only_adds() const {
    return kind == Kind::identity || (kind == Kind::chain && activation == Pointwise::constant);
  }
};
static_assert(std::is_trivially_copyable_v<EpilogueCode>);

/// Strides, in elements, of an epilogue operand or an output over the rows and columns of a tile.
struct TileStrides {
  int64_t row, col;
};
/// The tile's part of an operand or an output: element (i, j) is data[i * row + j * col].
struct TileOperand {
  const float* data;
  int64_t row, col;
};
struct TileOutput {
  float* data;
  int64_t row, col;
};

/// Why the program cannot be compiled, empty if it can: limits of EpilogueCode beside what
/// check_epilogue (reference.h) checks.
std::string check_epilogue_size(const PointwiseProgram& program);
/// `operands`: one entry for each of the program's inputs but the first. The program has passed
/// check_epilogue and check_epilogue_size.
EpilogueCode compile_epilogue(const PointwiseProgram& program,
                              std::span<const TileStrides> operands);
/// Floats of scratch that run_epilogue needs for tiles of `tile_floats` floats (rows times leading
/// dimension).
int64_t epilogue_scratch(const EpilogueCode& code, int64_t tile_floats);

// Plain structs travel from bind() to run() inside Launch::state.
template <typename T>
void append_state(std::vector<int64_t>& state, const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignof(int64_t));
  const size_t at = state.size();
  state.resize(at + (sizeof(T) + 7) / 8);
  __builtin_memcpy(state.data() + at, &value, sizeof(T));
}

}  // namespace vitrail
