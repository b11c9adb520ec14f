// SPDX-License-Identifier: Apache-2.0
#include "compile/packed_weights.h"

namespace vitrail {

Tensor PackedWeights::get(const KernelFamily& family, const Problem& problem, size_t index,
                          const Tensor& dense) {
  Problem text = problem;  // packing does not depend on where the other operands lie
  for (auto* list : {&text.inputs, &text.outputs})
    for (Operand& o : *list) o.strides = row_major(o.dims);
  const auto [at, fresh] =
      known_.try_emplace({dense.raw(), fmt::format("{} {}", index, text.str())});
  if (fresh) at->second = {dense, family.pack(problem, index, dense)};
  return at->second.packed;
}

}  // namespace vitrail
