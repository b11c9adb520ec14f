// SPDX-License-Identifier: Apache-2.0
#include "compile/joint_code.h"

#include <algorithm>
#include <set>
#include <span>

#include "compile/choices.h"
#include "kernels/cuda/joint.h"
#include "plan/validate.h"

namespace vitrail {
namespace {

class Joiner {
 public:
  Joiner(const GpuTarget& target, const KernelSet& kernels) : target_(target), kernels_(kernels) {}

  /// With the steps' own tactics, or, where those differ in what a launch has once (the size of
  /// its clusters), all with one step's, the first whose code goes together.
  std::optional<GpuCode> join(std::span<const Step> steps, const std::vector<int>& choices) const {
    if (auto code = join(steps, choices, nullptr)) return code;
    const std::string& kernel = chosen(steps, choices, 0).kernel;
    for (size_t i = 0; i < steps.size(); ++i)
      if (chosen(steps, choices, i).kernel != kernel) return {};
    for (size_t i = 0; i < steps.size(); ++i)
      if (auto code = join(steps, choices, &chosen(steps, choices, i).tactic)) return code;
    return {};
  }

 private:
  static const KernelChoice& chosen(std::span<const Step> steps, const std::vector<int>& choices,
                                    size_t i) {
    return steps[i].choices[static_cast<size_t>(choices[i])];
  }
  std::optional<GpuCode> join(std::span<const Step> steps, const std::vector<int>& choices,
                              const Tactic* tactic) const {
    std::vector<cuda::JointMember> members;
    for (size_t i = 0; i < steps.size(); ++i) {
      const KernelChoice& choice = chosen(steps, choices, i);
      members.push_back(
          {&steps[i].problem,
           kernels_.find_gpu(choice.kernel)
               .generate(steps[i].problem, tactic ? *tactic : choice.tactic, target_.machine)});
    }
    return cuda::join(members);
  }
  const GpuTarget& target_;
  const KernelSet& kernels_;
};

}  // namespace

void add_joint_code(Plan& plan, const GpuTarget& target, const KernelSet& kernels,
                    const std::function<int(std::string source)>& module_of,
                    std::vector<Bindings> points) {
  if (points.empty())
    for (TunedPoint& point : tuned_points(plan)) points.push_back(std::move(point.at));
  const Bindings opt = symbols_at(plan, &PlanSymbol::opt);
  const Joiner joiner(target, kernels);
  // Steps inside branches and loops stand alone.
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    Step& head = plan.steps[i];
    head.joints.clear();
    if (head.together < 2 || kernels.off.contains(kJointKernel)) continue;
    const std::span<const Step> steps(&head, static_cast<size_t>(head.together));
    std::set<std::vector<int>> met;
    for (Bindings at : points) {
      for (const auto& [name, value] : opt) at.emplace(name, value);
      std::vector<int> choices;
      for (const Step& step : steps) choices.push_back(choice_at(step, at));
      if (std::count(choices.begin(), choices.end(), -1) || !met.insert(choices).second) continue;
      std::optional<GpuCode> code = joiner.join(steps, choices);
      if (!code) continue;
      const KernelChoice& first = head.choices[static_cast<size_t>(choices[0])];
      KernelChoice joint{.when = {}, .kernel = kJointKernel, .tactic = {}};
      joint.full_edge = first.full_edge;
      joint.division = first.division;
      joint.module = module_of(std::move(code->source));
      joint.launches = std::move(code->launches);
      head.joints.push_back({std::move(choices), std::move(joint)});
    }
  }
}

}  // namespace vitrail
