// SPDX-License-Identifier: Apache-2.0
// Every kernel on its family's samples against the family's reference: on every ISA the machine
// has, with every tactic of the kernel's list, with strided operands inside poisoned memory.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>

#include "kernels/trial.h"

namespace vitrail {
namespace {

/// A problem at extents, its operands, and the reference's answer.
struct Case {
  BoundProblem problem;
  Trial trial;
  std::vector<Tensor> expected;
  Case(const KernelFamily& family, const BoundProblem& bound, uint64_t seed)
      : problem(bound), trial(family, problem, seed), expected(trial.empty_outputs()) {
    family.reference(problem, trial.dense_inputs(), expected);
  }
};

/// Empty, or what is wrong.
std::string compare(const Tensor& got, const Tensor& expected, double units) {
  constexpr double kEps = 0x1p-23;
  if (!is_float(got.dtype())) return got.same(expected) ? "" : "differs from the reference";
  const Tensor wide = got.cast(DType::f64);
  int64_t zeros = 0, expected_zeros = 0;
  for (int64_t i = 0; i < wide.size(); ++i) {
    const double a = wide.data<double>()[i], b = expected.data<double>()[i];
    zeros += a == 0;
    expected_zeros += b == 0;
    if (std::isnan(b) ? std::isnan(a)
                      : std::fabs(a - b) <= units * kEps * std::max(1.0, std::fabs(b)))
      continue;
    if (std::isinf(b) && a == b) continue;
    return fmt::format("element {} of {}: {}, expected {}; {:.1f} units of 2^-23, {:.1f} allowed",
                       i, to_string(got.dims()), a, b,
                       std::fabs(a - b) / kEps / std::max(1.0, std::fabs(b)), units);
  }
  // A sample whose answer is almost all zeros would pass a kernel that does nothing.
  constexpr int64_t kSmall = 16;
  if (wide.size() > kSmall && std::max(zeros, expected_zeros) * 10 > wide.size() * 9)
    return "untrusted: nine tenths are zero";
  return "";
}

class Conformance : public testing::TestWithParam<const CpuKernel*> {};

void check_tactic(const CpuKernel& kernel, const KernelFamily& family, Case& c,
                  const Machine& machine, const Tactic& tactic) {
  std::vector<Tensor> fixed;
  for (const int workers : {1, 3}) {
    SCOPED_TRACE(fmt::format("tactic {{{}}}, {} workers", to_string(tactic), workers));
    const Launch launch = kernel.bind(c.problem, tactic, machine, workers);
    c.trial.reset_outputs();
    EXPECT_TRUE(run_launch(kernel, c.problem, launch, c.trial.args(), 1, 0))
        << "wrote past its scratch";
    EXPECT_EQ(c.trial.damaged_bytes(), 0) << "wrote outside its outputs";
    const std::vector<Tensor> first = c.trial.outputs();
    for (size_t i = 0; i < first.size(); ++i)
      EXPECT_EQ(compare(first[i], c.expected[i], family.tolerance(c.problem)), "")
          << "output " << i;
    c.trial.reset_outputs();
    EXPECT_TRUE(run_launch(kernel, c.problem, launch, c.trial.args(), 2, 17))
        << "wrote past its scratch";
    const std::vector<Tensor> second = c.trial.outputs();
    for (size_t i = 0; i < first.size(); ++i)
      EXPECT_TRUE(first[i].same(second[i])) << "output " << i << " depends on the order of tasks";
    if (!c.problem.problem->fixed_order || workers == 1) fixed = first;
    for (size_t i = 0; i < first.size(); ++i)
      EXPECT_TRUE(first[i].same(fixed[i])) << "output " << i << " depends on the number of workers";
    if (testing::Test::HasFailure()) return;
  }
}

TEST_P(Conformance, AgreesWithTheReference) {
  const CpuKernel& kernel = *GetParam();
  const KernelFamily* family = find_family(kernel.family);
  ASSERT_NE(family, nullptr);
  if (kernel.isa > this_machine().isa)
    GTEST_SKIP() << kernel.name << " needs " << name_of(kernel.isa) << ", this machine has "
                 << name_of(this_machine().isa);
  Machine machine = this_machine();
  machine.isa = kernel.isa;
  std::mt19937_64 random(5);
  int taken = 0;
  std::map<std::string, int> refused;
  for (const Problem& problem : family->samples()) {
    SCOPED_TRACE(problem.str());
    if (const Refusal why = kernel.accepts(problem); !why.empty()) {
      ++refused[why];
      continue;
    }
    ++taken;
    const Bindings once = random_bindings(problem, random);
    for (int round = 0; round < (once.empty() ? 1 : 3); ++round) {
      const Bindings bindings = round == 0 ? once : random_bindings(problem, random);
      Case c(*family, bind(problem, bindings), random());
      const std::vector<Tactic> tactics = kernel.tactics(c.problem, machine, 2);
      ASSERT_FALSE(tactics.empty());
      check_tactic(kernel, *family, c, machine, {});
      for (const Tactic& tactic : tactics) check_tactic(kernel, *family, c, machine, tactic);
      if (HasFailure()) return;
    }
  }
  for (const auto& [why, count] : refused)
    std::printf("  %s refuses %d: %s\n", kernel.name, count, why.c_str());
  EXPECT_GT(taken, 0) << "no sample is accepted";
}

INSTANTIATE_TEST_SUITE_P(Kernels, Conformance,
                         testing::ValuesIn(all_cpu_kernels().begin(), all_cpu_kernels().end()),
                         [](const auto& kernel) { return std::string(kernel.param->name); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Conformance);

}  // namespace
}  // namespace vitrail
