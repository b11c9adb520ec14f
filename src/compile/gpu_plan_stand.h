// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>

#include "compile/code_compiler.h"
#include "compile/gpu_plan.h"
#include "compile/judge.h"

namespace vitrail {

class Executor;

/// The bind-time symbol that picks one of a plan's variants: 0, 1, ...
inline constexpr const char* kPlanVariant = "plan_variant";

/// A plan that runs one variant of another or the next, as kPlanVariant says, so that all share
/// memory and the code in which they do not differ. Without code.
Plan plan_of_variants(const Plan& plan, const std::vector<StepChoices>& variants);

/// A GPU of this machine. Each variant is one recorded graph; it is replayed straight after itself,
/// so that weights and operands lie in the device's cache as far as they fit, as in a session that
/// runs again and again.
class GpuPlanStand : public PlanStand {
 public:
  GpuPlanStand(const GpuTarget& target, const KernelSet& kernels, CodeCompiler& compiler);
  ~GpuPlanStand() override;
  void open(const Plan& plan, const Bindings& at,
            const std::vector<StepChoices>& variants) override;
  double run(size_t variant) override;
  void close() override;

 private:
  void take(size_t variant);

  const GpuTarget& target_;
  const KernelSet& kernels_;
  CodeCompiler& compiler_;
  // The open plan's:
  std::unique_ptr<Executor> executor_;
  std::vector<bool> runs_;  // which variants do
  int replays_ = 1;
};

}  // namespace vitrail
