// SPDX-License-Identifier: Apache-2.0
// The Gram matrix of 16-bit tokens on tensor cores, in two launches.
#include <algorithm>

#include "kernels/cuda/text.h"
#include "kernels/gram/family.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int64_t kMostChannels = 128;
int64_t ceil_to(int64_t n, int64_t grain) { return (n + grain - 1) / grain * grain; }

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.size() != 1 || problem.outputs.size() != 1)
    return "gram has one input and one output";
  if (!problem.epilogue.identity()) return "an epilogue";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand& x = problem.inputs[0];
  if (x.dims.size() < 3 || x.constant) return "x is a constant or has less than 3 axes";
  if (x.dtype == DType::f32) return "x is f32";
  if (!x.dims.back().is_constant() || x.dims.back().constant() < 1 ||
      x.dims.back().constant() > kMostChannels)
    return fmt::format("{} channels, at most {} are taken", x.dims.back().str(), kMostChannels);
  if (problem.outputs[0].dims != Shape{x.dims[0], x.dims.back(), x.dims.back()})
    return "the output is not [b, c, c]";
  if (cuda::vector_width(problem, false, 0) < 2)
    return "rows are not known to be aligned to 4 bytes";
  return {};
}

/// As many as multiprocessors for up to 32 channels, fewer where each is larger and the second
/// launch has more to add.
int64_t usual_parts(const Problem& problem, const GpuMachine& machine) {
  constexpr int64_t kSmall = 32;
  return std::max<int64_t>(
      1, machine.multiprocessors * kSmall /
             std::max(kSmall, ceil_to(problem.inputs[0].dims.back().constant(), 16)));
}

// parts: at most so many for one image.
std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const int64_t parts = usual_parts(*problem.problem, machine);
  return {{{"parts", parts}}, {{"parts", 2 * parts}}, {{"parts", std::max<int64_t>(1, parts / 2)}}};
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine& machine) {
  const int64_t most_parts =
      tactic.count("parts") ? tactic.at("parts") : usual_parts(problem, machine);
  const Operand &x = problem.inputs[0], &out = problem.outputs[0];
  const int64_t c = x.dims.back().constant(), cp = ceil_to(c, 16), wm = cp / 16,
                wk = std::max<int64_t>(1, 8 / wm);
  SourceText text(problem);
  text.include("mma.cuh");
  Expr tokens = 1;
  for (size_t i = 1; i + 1 < x.dims.size(); ++i) tokens *= x.dims[i];
  // Parts depend on the number of tokens alone, so that the sums do.
  const int64_t step = 16 * wk * 2;
  const Expr part = ceildiv(tokens, most_parts * step) * step,
             parts = ceildiv(tokens, max(part, 1));
  text.add(fmt::format(
      "struct Cfg {{\n  typedef {} T;\n  static constexpr int C = {}, CP = {}, WK = {}, VX = {};\n"
      "  static __device__ __forceinline__ const T* at(const Args& a, int batch, int token) {{ "
      "return a.in0 + batch * (long long){} + {}; }}\n"
      "  static __device__ __forceinline__ void store(const Args& a, int element, float x) {{ "
      "a.out0[{}] = vt_to<{}>(x); }}\n}};\n",
      cuda::c_type(x.dtype), c, cp, wk, cuda::vector_width(problem, false, 0),
      text.number(x.strides[0]), text.offset(x, 1, x.dims.size() - 1, "token"),
      text.offset(out, 0, 3, "element"), cuda::c_type(out.dtype)));
  text.add(std::string(cuda::device_header("gram.cuh")));
  const int threads = static_cast<int>(32 * wm * wk);
  text.entry("gram_parts", threads,
             fmt::format("  Gram<Cfg>::run(a, {}, {}, {});\n", text.number(tokens),
                         text.number(part), text.number(parts)),
             1);
  text.entry("gram_add", 256, fmt::format("  Gram<Cfg>::add(a, {});\n", text.number(parts)));
  return text.finish(
      {{.entry = "gram_parts",
        .grid = {parts * x.dims[0], 1, 1},
        .threads = threads,
        .shared_bytes = std::max(4 * step * (cp + 8) * 2, cp * (cp + 4) * 4)},
       {.entry = "gram_add", .grid = {x.dims[0] * ((cp * cp + 31) / 32), 1, 1}, .threads = 256}},
      parts * x.dims[0] * (cp * cp * 4));
}

}  // namespace

extern const GpuKernel gram_cuda_mma;
const GpuKernel gram_cuda_mma{.name = "gram_cuda_mma",
                              .family = "gram",
                              .accepts = accepts,
                              .tactics = tactics,
                              .generate = generate};

}  // namespace vitrail
