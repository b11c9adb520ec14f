// SPDX-License-Identifier: Apache-2.0
// Every GPU kernel on its family's samples: the text is deterministic and NVRTC, where it is
// present, compiles it for every architecture without spills. Whether it computes the right thing
// is checked on a GPU by tests/gpu.
#include <gtest/gtest.h>

#include <array>
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

// Blocks of Gram kernels that form each product once have a multiprocessor each.
TEST(GramSources, HalvesCompileAndAreNotShared) {
  if (!have_nvrtc()) GTEST_SKIP();
  size_t taken = 0;
  for (const auto& [name, type] :
       {std::pair{"gram_cuda_mma", DType::f16}, std::pair{"gram_cuda", DType::f32}}) {
    const GpuKernel& kernel = *find_gpu_kernel(name);
    for (const BenchCase& c : find_family(kernel.family)->bench()) {
      Problem problem = c.problem;
      Operand& x = problem.inputs[0];
      x.dtype = type;
      Shape rows = x.dims;  // as a plan has them
      rows.back() = ceildiv(rows.back(), 8) * 8;
      x.strides = row_major(rows);
      problem.ints["align_in0"] = 16;
      const GpuMachine machine = typical_gpu(kArchitectures[++taken % 4]);
      ASSERT_EQ(kernel.accepts(problem, machine), "");
      const Tactic tactic = kernel.tactics(vitrail::bind(problem, {}), machine).at(0);
      EXPECT_EQ(tactic.at("half"), 1);
      const GpuCode code = kernel.generate(problem, tactic, machine);
      EXPECT_GT(2 * code.launches[0].shared_bytes, machine.shared_bytes);
      EXPECT_LE(code.launches[0].shared_bytes, machine.shared_bytes);
      EXPECT_LE(code.launches[0].grid[0].eval({}), machine.multiprocessors);
      EXPECT_LE(code.launches[0].threads, 512);
      for (const KernelResources& r : compile_cuda(code.source, machine.architecture()).resources)
        EXPECT_EQ(r.spill_bytes, 0) << r.entry << ", " << r.registers << " registers";
    }
  }
}

// Forms of one tile differ in text only, so samples meet few of them. Rows with spare elements, as
// plans have them.
TEST(GpuForms, OfFusedBlocksCompileWithoutSpills) {
  if (std::string why; !have_nvrtc(&why)) GTEST_SKIP() << why;
  const GpuMachine machine = typical_gpu(90);
  for (const GpuKernel* kernel : all_gpu_kernels()) {
    if (kernel->name != std::string("inverted_cuda_mma") &&
        kernel->name != std::string("positional_cuda_mma"))
      continue;
    for (const BenchCase& c : find_family(kernel->family)->bench()) {
      Problem p = in_storage(c.problem, DType::f16);
      for (auto* list : {&p.inputs, &p.outputs})
        for (Operand& o : *list) {
          if (o.constant || o.dims.size() != 4) continue;
          const int64_t columns = o.dims[3].constant(), wide = (columns + 7) / 8 * 8;
          Shape padded = o.dims;
          padded[3] = wide;
          o.strides = row_major(padded);
          p.ints[fmt::format("spare_{}{}", list == &p.inputs ? "in" : "out", &o - list->data())] =
              wide - columns;
        }
      SCOPED_TRACE(c.name);
      std::set<int64_t> forms;
      for (const Tactic& tactic : kernel->tactics(vitrail::bind(p, {}), machine)) {
        if (!forms.insert(tactic.at("form")).second) continue;
        const GpuCode code = kernel->generate(p, tactic, machine);
        const CompiledCode compiled = compile_cuda(code.source, machine.architecture());
        for (const KernelResources& r : compiled.resources)
          EXPECT_EQ(r.spill_bytes, 0) << to_string(tactic) << ", " << r.registers;
      }
      EXPECT_FALSE(forms.contains(0));  // for windows that the others do not take
    }
  }
}

// Blocks that last: a bound on the grid, registers for 384 threads, and other tiles where they
// cannot be.
Problem product(int64_t m, int64_t n, int64_t k) {  // swish(A B) + a residual
  Problem p;
  p.family = "gemm", p.epilogue_inputs = 2;
  const auto operand = [](std::vector<Expr> dims, bool constant) {
    Operand o;
    o.dtype = DType::f16, o.constant = constant;
    o.strides = {dims[1], 1};
    o.dims = std::move(dims);
    return o;
  };
  p.outputs = {operand({m, n}, false)};
  p.inputs = {operand({m, k}, false), operand({k, n}, true), p.outputs[0]};
  p.epilogue.inputs = 2;
  p.epilogue.code = {{.op = Pointwise::swish, .a = 0, .imm = 1.702f},
                     {.op = Pointwise::add, .a = 2, .b = 1}};
  p.epilogue.results = {3};
  return in_storage(std::move(p), DType::f16);
}
void expect_no_spills(const std::string& source, const GpuMachine& machine, int threads) {
  if (!have_nvrtc()) return;
  for (const KernelResources& r : compile_cuda(source, machine.architecture()).resources) {
    EXPECT_EQ(r.spill_bytes, 0) << r.registers << " registers";
    EXPECT_LE(r.registers * threads, 1 << 16);
  }
}

TEST(GemmInTurns, IsOfferedAndCompiles) {
  const GpuMachine machine = typical_gpu(90);
  const GpuKernel& kernel = *find_gpu_kernel("gemm_cuda_mma");
  int turns = 0;
  for (const auto& [m, n, k] :
       {std::array{6304, 1536, 384}, {6304, 384, 1536}, {100352, 64, 256}}) {
    const Problem problem = product(m, n, k);
    ASSERT_EQ(kernel.accepts(problem, machine), "");
    for (const Tactic& tactic : kernel.tactics(vitrail::bind(problem, {}), machine)) {
      if (!tactic.contains("turns")) continue;
      ++turns;
      SCOPED_TRACE(fmt::format("{}x{} for {}x{}x{}", tactic.at("bm"), tactic.at("bn"), m, n, k));
      const GpuCode code = kernel.generate(problem, tactic, machine);
      const GpuLaunch& launch = code.launches.at(0);
      EXPECT_EQ(launch.threads, 384);
      EXPECT_LE(launch.grid[0].eval({}), machine.multiprocessors);
      EXPECT_LE(launch.shared_bytes, machine.shared_bytes);
      expect_no_spills(code.source, machine, launch.threads);
      // Columns that are no whole tiles: the same extents without turns.
      const GpuCode odd = kernel.generate(product(m, n + 1, k), tactic, machine);
      EXPECT_EQ(odd.source.find("GemmTurns"), std::string::npos);
      EXPECT_EQ(odd.launches.at(0).threads, tactic.at("bm") * 2);
    }
  }
  EXPECT_GE(turns, 8);
}

TEST(GemmEndsEarly, IsOfferedAndCompiles) {
  const GpuMachine machine = typical_gpu(90);
  const GpuKernel& kernel = *find_gpu_kernel("gemm_cuda_mma");
  int early = 0;
  for (const auto& [m, n, k] : {std::array{197, 384, 1536}, {1576, 384, 1536}}) {
    const Problem problem = product(m, n, k);
    for (const Tactic& tactic : kernel.tactics(vitrail::bind(problem, {}), machine)) {
      if (!tactic.contains("early")) continue;
      ++early;
      const GpuCode code = kernel.generate(problem, tactic, machine);
      EXPECT_EQ(code.launches.at(0).cluster, tactic.at("split"));
      expect_no_spills(code.source, machine, code.launches.at(0).threads);
      const GpuCode odd = kernel.generate(product(m, n + 1, k), tactic, machine);
      EXPECT_EQ(odd.source.find("struct EarlyEnd {"), std::string::npos);
    }
  }
  EXPECT_GE(early, 2);
}

// Blocks of a cluster share a spectral matrix's heads where there are clusters.
TEST(SpectralSources, HeadsAreSharedByClusters) {
  const GpuKernel& kernel = *find_gpu_kernel("spectral_cuda");
  const Problem four = find_family("spectral")->bench().at(2).problem;
  const BoundProblem bound = vitrail::bind(four, {});
  const Tactic tactic = kernel.tactics(bound, typical_gpu(90)).at(0);
  EXPECT_EQ(tactic.at("split"), 4);
  EXPECT_EQ(kernel.tactics(bound, typical_gpu(80)).at(0).count("split"), 0U);
  const GpuCode code = kernel.generate(four, tactic, typical_gpu(90));
  EXPECT_EQ(code.launches.at(1).cluster, 4);
  EXPECT_TRUE(code.launches[1].grid[0].is(4 * 31));
  if (!have_nvrtc()) return;
  for (const KernelResources& r : compile_cuda(code.source, "sm_90a").resources)
    EXPECT_EQ(r.spill_bytes, 0) << r.entry << ", " << r.registers << " registers";
}

// A product for each tap, of image and weight in 16 bits.
TEST(ConvTransposeSources, WindowsBesideEachOtherAreProducts) {
  const GpuKernel& kernel = *find_gpu_kernel("conv_transpose_cuda_mma");
  for (const BenchCase& c : find_family("conv_transpose")->bench()) {
    const Problem problem = in_storage(c.problem, DType::f16);
    EXPECT_EQ(kernel.accepts(problem, typical_gpu(90)), "");
    EXPECT_NE(kernel.accepts(c.problem, typical_gpu(90)), "") << "float32";
    Problem padded = problem;
    padded.ints["pad_top"] = 1;
    EXPECT_NE(kernel.accepts(padded, typical_gpu(90)), "");
    for (const Tactic& tactic : kernel.tactics(vitrail::bind(problem, {}), typical_gpu(90))) {
      const GpuCode code = kernel.generate(problem, tactic, typical_gpu(90));
      const int64_t pixels =
                        problem.inputs[0].dims[1].constant() * problem.inputs[0].dims[2].constant(),
                    bm = tactic.at("bm");
      EXPECT_EQ(code.launches.at(0).grid[0].eval({}) % (4 * ((pixels + bm - 1) / bm)), 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, GpuSources,
                         testing::ValuesIn(all_gpu_kernels().begin(), all_gpu_kernels().end()),
                         [](const auto& kernel) { return std::string(kernel.param->name); });

}  // namespace
}  // namespace vitrail
