// SPDX-License-Identifier: Apache-2.0
// A device lost to its process by a kernel that traps or writes where no memory is: the run that
// meets it names it, every session of the process says so from then on, and all can be closed.
#include <fmt/core.h>

#include <set>
#include <string>

#include "backends/cuda/driver.h"
#include "compile/nvrtc.h"
#include "plan/plan_file.h"
#include "tests/gpu/runtime.h"
#include "vitrail/random.h"
#include "vitrail/session.h"

namespace vitrail {
namespace {

void write_broken(const std::string& from, const std::string& to, const std::string& how) {
  const PlanFile file = load_plan_file(from);
  Plan plan = *file.targets.at(0);
  std::vector<std::set<std::string>> entries(plan.modules.size());
  const auto collect = [&](const KernelChoice& choice) {
    for (const GpuLaunch& launch : choice.launches)
      if (!launch.library) entries[static_cast<size_t>(choice.module)].insert(launch.entry);
  };
  for_each_step(plan.steps, [&](const Step& step) {
    for (const KernelChoice& choice : step.choices) collect(choice);
    for (const JointLaunch& joint : step.joints) collect(joint.code);
  });
  const std::string architecture = cuda::Device::open(0)->machine().architecture();
  for (size_t i = 0; i < entries.size(); ++i) {
    std::string source;
    for (const std::string& entry : entries[i])
      source += fmt::format("extern \"C\" __global__ void {}() {{ {} }}\n", entry,
                            how == "trap" ? "asm volatile(\"trap;\");" : "*(volatile int*)16 = 1;");
    plan.modules[i] = compile_cuda(source, architecture).cubin;
  }
  save_plan(to, plan);
}

int failures = 0;
void expect(bool ok, const std::string& what) {
  if (ok) return;
  ++failures;
  fmt::print("FAILED: {}\n", what);
}

void expect_lost(const std::function<void()>& use, const std::string& what) {
  try {
    use();
    expect(false, what + ": nothing was refused");
  } catch (const Error& error) {
    fmt::print("{}: {}\n", what, error.what());
    expect(error.code == Code::resource &&
               std::string(error.what()).find("lost to this process") != std::string::npos,
           what + ": another error");
  }
}

}  // namespace

int check_lost(const std::string& path, const std::string& broken_path, const std::string& how) {
  write_broken(path, broken_path, how);
  const LoadedPlan plan = LoadedPlan::load(path), broken = LoadedPlan::load(broken_path);
  const TensorSpec& input = plan.inputs().at(0);
  const Tensor image = random_tensor(input.dtype, input.min, 1);
  Session good(plan), bad(broken), later(broken);
  for (Session* s : {&good, &bad, &later})
    s->set_input(input.name, image.dtype(), image.dims(), image.raw());
  good.run();
  expect(!good.lost(), "lost before anything failed");
  later.run_async();
  expect_lost([&] { later.wait(); }, "the run that meets it");
  expect(good.lost() && bad.lost(), "a session does not say that it is lost");
  expect_lost([&] { bad.run(); }, "another session");
  expect_lost([&] { good.run(); }, "a session that had run");
  expect_lost([&] { Session fresh(plan); }, "a new session");
  return failures ? 1 : 0;
}

}  // namespace vitrail
