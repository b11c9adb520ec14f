// SPDX-License-Identifier: Apache-2.0
// GPU kernels on the processor, against the references of their families: the text that NVRTC
// would compile runs on emulation.h. Small samples, a few for each kernel and type, chosen for as
// many kinds of tactics and ways to lie in memory as there can be.
// VITRAIL_EMULATED=<n>[,part of a name]: n more cases of each kernel and type.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "kernels/trial.h"
#include "kernels/work.h"
#include "tests/gpu/host_trial.h"
#include "tests/gpu/limits.h"

namespace vitrail {
namespace {

// What the environment asks for.
struct Choice {
  size_t more = 0;
  std::string kernel;
};
Choice choice() {
  Choice out;
  if (const char* text = std::getenv("VITRAIL_EMULATED")) {
    out.more = std::strtoul(text, nullptr, 10);
    const std::string s = text;
    if (const size_t comma = s.find(','); comma != std::string::npos)
      out.kernel = s.substr(comma + 1);
  }
  return out;
}

// An estimate of seconds: products and elements of one thread at a time, and threads that start.
double cost(const HostCase& c) {
  const BoundProblem bound = vitrail::bind(c.problem, c.symbols);
  double threads = 0;
  for (const GpuLaunch& l : c.kernel->generate(c.problem, c.tactic, c.machine).launches)
    threads += static_cast<double>(l.threads * l.grid[0].eval(c.symbols) *
                                   l.grid[1].eval(c.symbols) * l.grid[2].eval(c.symbols));
  return flop_of(bound) * 5e-9 + bytes_of(bound) * 2e-8 + threads * 5e-6;
}

// What a case has that others of its kernel and type may not: each of these is run once.
std::set<std::string> features(const Problem& problem, const Bindings& symbols, Memory memory,
                               const Tactic& tactic) {
  std::set<std::string> out = {fmt::format("memory={}", static_cast<int>(memory))};
  // Large values are extents of tiles, small ones kinds of code.
  constexpr int64_t kSmall = 2;
  std::string keys = "keys";
  for (const auto& [key, value] : tactic) {
    out.insert(fmt::format("{}={}", key, std::min(value, kSmall + 1)));
    keys += " " + key;
  }
  // Larger problems, too, in which loops over tiles take several turns.
  constexpr double kLarge = 1e6;
  out.insert(keys + (flop_of(vitrail::bind(problem, symbols)) > kLarge ? " large" : ""));
  for (const auto& [key, value] : problem.ints)
    if (key.rfind("align_", 0) != 0 && key.rfind("spare_", 0) != 0) out.insert(key);
  return out;
}

// At most `most` cases, those with the most features that none before has; then `more` others.
void add_cases(const GpuKernel& kernel, const GpuMachine& machine, DType type, size_t most,
               size_t more, std::vector<HostCase>& out) {
  std::mt19937_64 random(11);
  std::vector<std::pair<HostCase, std::set<std::string>>> left;
  for (const Problem& sample : find_family(kernel.family)->samples())
    for (const Memory memory : {Memory::plain, Memory::aligned, Memory::spare}) {
      if (memory == Memory::spare && size_of(type) != 2) continue;
      const Problem problem = in_storage(sample, type, memory);
      if (!kernel.accepts(problem, machine).empty()) continue;
      const Bindings symbols = random_bindings(problem, random);
      for (const Tactic& tactic : kernel.tactics(vitrail::bind(problem, symbols), machine))
        left.push_back({{&kernel, machine, problem, symbols, tactic, random()},
                        features(problem, symbols, memory, tactic)});
    }
  std::shuffle(left.begin(), left.end(), random);
  std::set<std::string> seen;
  while (most + more > 0 && !left.empty()) {
    const auto fresh = [&](const auto& c) {
      return std::count_if(c.second.begin(), c.second.end(),
                           [&](const std::string& f) { return !seen.contains(f); });
    };
    auto best = left.begin();
    if (most > 0)
      best = std::max_element(left.begin(), left.end(),
                              [&](const auto& a, const auto& b) { return fresh(a) < fresh(b); });
    if (most > 0 && fresh(*best) == 0) {
      most = 0;
      continue;
    }
    constexpr double kMostSeconds = 0.3;
    if (cost(best->first) <= kMostSeconds) {
      --(most > 0 ? most : more);
      seen.insert(best->second.begin(), best->second.end());
      out.push_back(best->first);
    }
    left.erase(best);
  }
}

// Cases of a kernel in a type: compiling them is what takes the time, so that most are those of
// tensor cores in float16. Other kernels are the same text for all machines.
size_t most_cases(const GpuKernel& kernel, int sm, DType type) {
  const std::string_view name = kernel.name;
  const bool tensor = name.ends_with("_mma") || name.ends_with("_norm");
  if (sm != 90) return tensor && type == DType::f16 ? 1 : 0;
  if (type == DType::f16) return tensor ? 6 : 2;
  return type == DType::f32 && tensor ? 2 : 1;
}

void run_on(int sm) {
  const HostTrials trials;
  if (!trials.error().empty()) GTEST_SKIP() << trials.error();
  const Choice asked = choice();
  std::vector<HostCase> cases;
  for (const GpuKernel* kernel : all_gpu_kernels())
    if (std::string_view(kernel->name).find(asked.kernel) != std::string_view::npos)
      for (const DType type : {DType::f32, DType::f16, DType::bf16})
        add_cases(*kernel, typical_gpu(sm), type, most_cases(*kernel, sm, type), asked.more, cases);
  const std::vector<HostTrials::Result> results = trials.run(cases);
  std::map<std::string, std::pair<int, int>> counts;
  std::map<std::string, int> skipped;
  for (size_t i = 0; i < cases.size(); ++i) {
    auto& [run, not_run] = counts[cases[i].kernel->name];
    ++(results[i].skipped.empty() ? run : not_run);
    if (!results[i].skipped.empty()) ++skipped[results[i].skipped];
    if (!results[i].wrong.empty()) ADD_FAILURE() << cases[i].str() << "\n  " << results[i].wrong;
  }
  for (const auto& [name, n] : counts)
    fmt::print("{:28} {:4} cases, {} skipped\n", name, n.first, n.second);
  for (const auto& [why, n] : skipped) fmt::print("{} skipped: {}\n", n, why);
}

// Blocks that last are offered for large products only: their tactics, with two blocks, on a small
// one.
TEST(Emulated, GemmInTurns) {
  const HostTrials trials;
  if (!trials.error().empty()) GTEST_SKIP() << trials.error();
  const auto product = [](int64_t m, int64_t n, int64_t k) {
    Problem p;
    p.family = "gemm", p.epilogue_inputs = 2;
    const auto operand = [](Shape dims, bool constant) {
      return Operand{
          .dtype = DType::f32, .dims = dims, .strides = row_major(dims), .constant = constant};
    };
    p.outputs = {operand({m, n}, false)};
    p.inputs = {operand({m, k}, false), operand({k, n}, true), p.outputs[0]};
    p.epilogue.inputs = 2;
    p.epilogue.code = {{.op = Pointwise::add, .a = 0, .b = 1}};
    p.epilogue.results = {2};
    return in_storage(std::move(p), DType::f16, Memory::aligned);
  };
  const GpuMachine machine = typical_gpu(90);
  const GpuKernel& kernel = *find_gpu_kernel("gemm_cuda_mma");
  std::map<std::pair<int64_t, int64_t>, HostCase> cases;  // by turns and columns
  for (const auto& [m, n, k] :
       {std::array<int64_t, 3>{6304, 1536, 384}, {6304, 384, 1536}, {100352, 64, 256}})
    for (Tactic tactic : kernel.tactics(vitrail::bind(product(m, n, k), {}), machine)) {
      if (!tactic.contains("turns")) continue;
      tactic["blocks"] = 2;
      const int64_t columns = tactic.at("bn"), depth = tactic.at("bk") * 5;
      cases.insert({{tactic.at("turns"), columns},
                    {&kernel, machine, product(150, columns * 2, depth), {}, tactic, 11}});
    }
  ASSERT_FALSE(cases.empty());
  std::vector<HostCase> all;
  for (const auto& [key, c] : cases) all.push_back(c);
  const std::vector<HostTrials::Result> results = trials.run(all);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_NE(kernel.generate(all[i].problem, all[i].tactic, machine).source.find("GemmTurns"),
              std::string::npos);
    EXPECT_EQ(results[i].wrong + results[i].skipped, "") << all[i].str();
  }
  fmt::print("{} cases\n", all.size());
}

TEST(Emulated, Sm90) { run_on(90); }
TEST(Emulated, Sm80) { run_on(80); }

}  // namespace
}  // namespace vitrail
