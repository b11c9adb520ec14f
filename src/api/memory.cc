// SPDX-License-Identifier: Apache-2.0
#include "api/memory.h"

#include "plan/validate.h"
#include "runtime/executor.h"

namespace vitrail {

uint64_t working_memory(const Plan& plan, int threads) {
  if (plan.target != "cpu") return 0;
  for (const PlanSymbol& s : plan.symbols)
    if (s.kind == PlanSymbol::Kind::bind) return 0;
  const Bindings opt = symbols_at(plan, &PlanSymbol::opt);
  Executor executor({&plan, [](const Plan*) {}}, {.threads = threads});
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    const PlanValue& v = plan.values[static_cast<size_t>(plan.inputs[i].value)];
    executor.set_input(i, v.dtype, eval(v.dims, opt), nullptr);
  }
  executor.bind();
  const Executor::MemoryUse use = executor.memory();
  return static_cast<uint64_t>(use.arena + use.scratch + use.outputs);
}

}  // namespace vitrail
