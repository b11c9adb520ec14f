// SPDX-License-Identifier: Apache-2.0
#include "kernels/epilogue.h"

#include <algorithm>

#include "base/error.h"

namespace vitrail {
namespace {

bool is_chain_activation(Pointwise op) {
  return op == Pointwise::gelu || op == Pointwise::swish || op == Pointwise::relu;
}

/// activation(x + bias) + residual, each part optional and each value used once.
bool match_chain(const PointwiseProgram& program, std::span<const TileStrides> operands,
                 EpilogueCode* out) {
  const auto is_bias = [&](int i) {
    return operands[static_cast<size_t>(i)].row == 0 && operands[static_cast<size_t>(i)].col == 1;
  };
  const auto is_matrix = [&](int i) { return operands[static_cast<size_t>(i)].col == 1; };
  if (program.results.size() != 1) return false;
  int current = 0;
  for (size_t k = 0; k < program.code.size(); ++k) {
    const PointwiseInstr& in = program.code[k];
    if (in.op == Pointwise::add && (in.a == current) != (in.b == current)) {
      const int operand = (in.a == current ? in.b : in.a) - 1;
      if (operand < 0 || operand >= program.inputs - 1) return false;
      const bool active = out->activation != Pointwise::constant;
      if (is_bias(operand) && out->bias < 0 && !active && out->residual < 0) {
        out->bias = operand;
      } else if (is_matrix(operand) && out->residual < 0) {
        out->residual = operand;
      } else {
        return false;
      }
    } else if (is_chain_activation(in.op) && in.a == current &&
               out->activation == Pointwise::constant && out->residual < 0) {
      out->activation = in.op;
      out->imm = in.imm;
    } else {
      return false;
    }
    current = program.inputs + static_cast<int>(k);
  }
  return program.results[0] == current;
}

/// Gives each instruction's value a buffer, free again after its last use.
void allocate_slots(const PointwiseProgram& program, EpilogueCode* out) {
  const int fixed = program.inputs, total = fixed + static_cast<int>(program.code.size());
  std::vector<int> last_use(static_cast<size_t>(total), -1), slot_of(static_cast<size_t>(total));
  for (int r = 0; r < fixed; ++r) slot_of[static_cast<size_t>(r)] = r;
  for (size_t k = 0; k < program.code.size(); ++k) {
    const PointwiseInstr& in = program.code[k];
    if (arity_of(in.op) >= 1) last_use[static_cast<size_t>(in.a)] = static_cast<int>(k);
    if (arity_of(in.op) == 2) last_use[static_cast<size_t>(in.b)] = static_cast<int>(k);
  }
  for (int16_t r : program.results) last_use[static_cast<size_t>(r)] = total;
  std::vector<int> free_slots;
  int next = fixed;
  for (size_t k = 0; k < program.code.size(); ++k) {
    const PointwiseInstr& in = program.code[k];
    const int own = fixed + static_cast<int>(k);
    // Operands that end here are freed first: elementwise code may write over what it reads.
    const int arity = arity_of(in.op);
    for (int side = 0; side < arity; ++side) {
      const int from = side == 0 ? in.a : in.b;
      if (side == 1 && in.a == in.b) break;
      if (from >= fixed && last_use[static_cast<size_t>(from)] == static_cast<int>(k))
        free_slots.push_back(slot_of[static_cast<size_t>(from)]);
    }
    int slot = next;
    if (free_slots.empty()) {
      ++next;
    } else {
      slot = free_slots.back();
      free_slots.pop_back();
    }
    slot_of[static_cast<size_t>(own)] = slot;
    if (last_use[static_cast<size_t>(own)] < 0) free_slots.push_back(slot);
    out->code[k] = {
        in.op, arity >= 1 ? static_cast<int16_t>(slot_of[static_cast<size_t>(in.a)]) : int16_t{0},
        arity == 2 ? static_cast<int16_t>(slot_of[static_cast<size_t>(in.b)]) : int16_t{0},
        static_cast<int16_t>(slot), in.imm};
  }
  for (size_t r = 0; r < program.results.size(); ++r)
    out->result[r] = static_cast<int16_t>(slot_of[static_cast<size_t>(program.results[r])]);
  out->slots = next - 1;  // all but the tile: operands are gathered into buffers too
}

}  // namespace

std::string check_epilogue_size(const PointwiseProgram& program) {
  const auto limit = [](const char* what, size_t found, int most) -> std::string {
    if (found <= static_cast<size_t>(most)) return {};
    return fmt::format("the epilogue has {} {}, at most {} are compiled", found, what, most);
  };
  std::string why = limit("operands", static_cast<size_t>(std::max(0, program.inputs - 1)),
                          EpilogueCode::kMaxOperands);
  if (why.empty()) why = limit("instructions", program.code.size(), EpilogueCode::kMaxInstrs);
  if (why.empty()) why = limit("results", program.results.size(), EpilogueCode::kMaxResults);
  return why;
}

EpilogueCode compile_epilogue(const PointwiseProgram& program,
                              std::span<const TileStrides> operands) {
  require(check_epilogue_size(program).empty() &&
              static_cast<int>(operands.size()) == program.inputs - 1,
          Code::internal, "epilogue {} with {} operands", program.str(), operands.size());
  EpilogueCode out{};
  out.operands = program.inputs - 1;
  out.count = static_cast<int32_t>(program.code.size());
  out.results = static_cast<int32_t>(program.results.size());
  out.bias = out.residual = -1;
  out.activation = Pointwise::constant;
  if (program.identity()) {
    out.kind = EpilogueCode::Kind::identity;
  } else if (match_chain(program, operands, &out)) {
    out.kind = EpilogueCode::Kind::chain;
  } else {
    out.kind = EpilogueCode::Kind::program;
    allocate_slots(program, &out);
  }
  return out;
}

int64_t epilogue_scratch(const EpilogueCode& code, int64_t tile_floats) {
  // Buffers start at multiples of 64 bytes.
  return code.kind == EpilogueCode::Kind::program ? code.slots * ((tile_floats + 15) / 16 * 16) : 0;
}

}  // namespace vitrail
