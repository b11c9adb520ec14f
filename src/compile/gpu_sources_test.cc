// SPDX-License-Identifier: Apache-2.0
// Every GPU kernel on its family's samples: the text is deterministic and NVRTC, where it is
// present, compiles it for every architecture without spills. Whether it computes the right thing
// is checked on a GPU by tests/gpu.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "compile/nvrtc.h"
#include "kernels/gpu_kernel.h"

namespace vitrail {
namespace {

constexpr int kArchitectures[] = {80, 86, 89, 90};

/// The problem with the operands that vary in 16-bit storage, and 16-byte aligned.
Problem in_storage(Problem p, DType type) {
  const auto convert = [&](std::vector<Operand>& list, const char* name) {
    for (size_t i = 0; i < list.size(); ++i) {
      if (list[i].dtype == DType::f32) list[i].dtype = type;
      p.ints[fmt::format("align_{}{}", name, i)] = 16;
    }
  };
  convert(p.inputs, "in");
  convert(p.outputs, "out");
  return p;
}

class GpuSources : public testing::TestWithParam<const GpuKernel*> {};

TEST_P(GpuSources, AreDeterministicAndCompile) {
  const GpuKernel& kernel = *GetParam();
  const KernelFamily* family = find_family(kernel.family);
  ASSERT_NE(family, nullptr);
  int taken = 0, compiled = 0;
  std::map<std::string, int> refused;
  const std::vector<Problem> samples = family->samples();
  for (size_t s = 0; s < samples.size(); ++s) {
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      GpuMachine machine = typical_gpu(kArchitectures[taken % 4]);
      machine.cublas_lt = {130000, ""}, machine.cudnn = {92600, ""};
      const Problem problem =
          type == DType::f32 && s % 2 == 0 ? samples[s] : in_storage(samples[s], type);
      SCOPED_TRACE(problem.str());
      if (const Refusal why = kernel.accepts(problem, machine); !why.empty()) {
        ++refused[why];
        continue;
      }
      Bindings ones;
      for (const auto* list : {&problem.inputs, &problem.outputs})
        for (const Operand& o : *list) {
          std::set<std::string> symbols;
          for (const Expr& e : o.dims) e.collect_symbols(symbols);
          for (const Expr& e : o.strides) e.collect_symbols(symbols);
          for (const std::string& name : symbols) ones[name] = 7;
        }
      // Libraries are asked on the device; without a tactic they choose when the plan is bound.
      const std::vector<Tactic> tactics =
          kernel.preferred ? std::vector<Tactic>{{}}
                           : kernel.tactics(vitrail::bind(problem, ones), machine);
      ASSERT_FALSE(tactics.empty());
      const Tactic& tactic = tactics[static_cast<size_t>(taken) % tactics.size()];
      const GpuCode code = kernel.generate(problem, tactic, machine);
      EXPECT_EQ(code.source, kernel.generate(problem, tactic, machine).source);
      ASSERT_FALSE(code.launches.empty());
      for (const GpuLaunch& launch : code.launches) {
        if (launch.library) {
          for (const auto& [name, e] : launch.library->numbers)
            EXPECT_NO_THROW(e.eval(ones)) << name;
          continue;
        }
        EXPECT_NE(code.source.find(launch.entry), std::string::npos);
        EXPECT_GE(launch.threads, 32);
        EXPECT_LE(launch.threads, 1024);
        EXPECT_LE(launch.shared_bytes, machine.shared_bytes);
        for (const Expr& e : launch.grid) EXPECT_GE(e.eval(ones), 0);
      }
      ++taken;
      constexpr int kMostCompiled = 6;  // some 0.3 s each
      if (!have_nvrtc() || code.source.empty() ||
          (taken - 1) % std::max<int>(1, static_cast<int>(samples.size()) * 3 / kMostCompiled) != 0)
        continue;
      ++compiled;
      for (const KernelResources& r : compile_cuda(code.source, machine.architecture()).resources) {
        EXPECT_EQ(r.spill_bytes, 0) << r.entry << ", " << r.registers << " registers";
        EXPECT_GT(r.registers, 0);
      }
    }
  }
  for (const auto& [why, count] : refused)
    std::printf("  %s refuses %d: %s\n", kernel.name, count, why.c_str());
  EXPECT_GT(taken, 0);
  EXPECT_TRUE(compiled > 0 || !have_nvrtc());
}

// Weights of a model stored in 16 bits pack as their float32 values do.
TEST_P(GpuSources, PackWeightsOfSixteenBits) {
  const GpuKernel& kernel = *GetParam();
  for (const Problem& sample : find_family(kernel.family)->samples())
    for (size_t i = 0; i < sample.inputs.size(); ++i) {
      const Operand& o = sample.inputs[i];
      if (!o.constant || !is_static(o.dims) || o.dtype != DType::f32) continue;
      Tensor dense(DType::f32, to_dims(o.dims));
      for (int64_t e = 0; e < dense.size(); ++e)
        dense.mutable_data<float>()[e] = static_cast<float>(e % 17) / 16;
      const Tensor wide = gpu_pack(kernel, sample, i, dense),
                   narrow = gpu_pack(kernel, sample, i, dense.cast(DType::f16));
      ASSERT_EQ(wide.bytes(), narrow.bytes());
      EXPECT_EQ(std::memcmp(wide.raw(), narrow.raw(), wide.bytes()), 0) << sample.str();
    }
}

INSTANTIATE_TEST_SUITE_P(Kernels, GpuSources,
                         testing::ValuesIn(all_gpu_kernels().begin(), all_gpu_kernels().end()),
                         [](const auto& kernel) { return std::string(kernel.param->name); });

}  // namespace
}  // namespace vitrail
