// SPDX-License-Identifier: Apache-2.0
// Builds on a GPU with kernels that compute something else: the guilty one is named and switched
// off, the next takes its place, untuned and timed; without a sound one there is no plan.
#include <fmt/core.h>

#include <deque>

#include "base/error.h"
#include "base/log.h"
#include "compile/compile.h"
#include "ir/text.h"
#include "tests/gpu/runtime.h"

namespace vitrail {
namespace {

constexpr const char* kModel = R"(graph "small" (x: f32[N,16,32], w: f32[32,64]) -> (y) {
  symbol N input 1..8
  m: f32[N,16,64] = MatMul(x, w) @"product"
  r: f32[N,16,64] = Relu(m) @"act"
  s: f32[N,16,64] = Softmax(r) {axis: -1} @"soft"
  y: f32[N,64,16] = Transpose(s) {perm: i[0, 2, 1]} @"turn"
})";

// Every GPU kernel; those picked write one wrong number and are done.
template <typename Pick>
std::vector<const GpuKernel*> with_broken(std::deque<GpuKernel>& copies, const Pick& broken) {
  std::vector<const GpuKernel*> out;
  for (const GpuKernel* kernel : all_gpu_kernels()) {
    if (!broken(*kernel)) {
      out.push_back(kernel);
      continue;
    }
    copies.push_back(*kernel);
    copies.back().tactics = [](const BoundProblem&, const GpuMachine&) {
      return std::vector<Tactic>{{}};
    };
    copies.back().generate = [](const Problem& p, const Tactic&, const GpuMachine&) {
      const char* type = p.outputs[0].dtype == DType::f32 ? "float" : "unsigned short";
      std::string source = "extern \"C\" __global__ void wrong(";
      for (size_t i = 0; i < p.inputs.size(); ++i) source += "const void*, ";
      source += fmt::format(
          "{0}* out, void*, void*) {{ asm volatile(\"griddepcontrol.wait;\" ::: \"memory\"); *out "
          "= "
          "({0})1; }}\n",
          type);
      return GpuCode{.source = source, .launches = {{.entry = "wrong", .threads = 32}}};
    };
    out.push_back(&copies.back());
  }
  return out;
}

int failures = 0;
void expect(bool good, const std::string& what) {
  fmt::print("{}: {}\n", good ? "ok" : "FAILED", what);
  failures += !good;
}

BuildOptions options_for(DType storage, bool tune) {
  BuildOptions out;
  out.device = "cuda";
  out.storage = storage;
  out.tune = tune;
  out.shapes["x"] = {{1, 16, 32}, {2, 16, 32}, {8, 16, 32}};
  return out;
}

// What an untuned build takes when all kernels are sound.
std::string usual_kernel(std::string_view family, DType storage) {
  BuildOptions options = options_for(storage, false);
  options.verify = VerifyLevel::off;
  BuildReport report;
  for (const Step& s : build_plan(ir::parse(kModel), options, report).steps)
    if (s.problem.family == family) return s.choices.back().kernel;
  return {};
}

void one_is_switched_off(DType storage, bool tune) {
  const std::string what = fmt::format("{}, {}", name_of(storage), tune ? "tuned" : "untuned");
  for (const char* family : {"gemm", "softmax"}) {
    const std::string bad = usual_kernel(family, storage);
    std::deque<GpuKernel> copies;
    const auto list = with_broken(copies, [&](const GpuKernel& k) { return k.name == bad; });
    BuildReport report;
    const Plan plan =
        build_plan(ir::parse(kModel), options_for(storage, tune), report, {.gpu = list, .off = {}});
    std::string account;
    for (const std::string& line : report.lines) account += line + "\n";
    expect(account.find("switched off: kernel '" + bad + "', because step ") != std::string::npos,
           fmt::format("{}: {} is named\n{}", what, bad, account));
    bool used = false;
    for_each_step(plan.steps, [&](const Step& s) {
      for (const KernelChoice& c : s.choices) used |= c.kernel == bad;
    });
    expect(!used && !report.verification.empty(), what + ": another runs, and passes");
  }
}

void without_a_sound_one_there_is_no_plan() {
  std::deque<GpuKernel> copies;
  const auto list =
      with_broken(copies, [](const GpuKernel& k) { return std::string_view(k.family) == "copy"; });
  BuildReport report;
  try {
    build_plan(ir::parse(kModel), options_for(DType::f32, false), report, {.gpu = list, .off = {}});
    expect(false, "a plan whose copies are wrong");
  } catch (const Error& error) {
    expect(error.code == Code::accuracy, fmt::format("no plan: {}", error.what()));
  }
}

}  // namespace

int check_blame() {
  for (const DType storage : {DType::f32, DType::f16})
    for (const bool tune : {false, true}) one_is_switched_off(storage, tune);
  without_a_sound_one_there_is_no_plan();
  return failures != 0;
}

}  // namespace vitrail
