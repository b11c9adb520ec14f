// SPDX-License-Identifier: Apache-2.0
// gemm with rows of A normalized in shared memory (kernels/cuda/gemm_norm.cuh).
#include <algorithm>

#include "base/round.h"
#include "kernels/cuda/mma_tiles.h"
#include "kernels/gemm/cuda_rows.h"
#include "kernels/gemm/family.h"

namespace vitrail {
namespace {
using cuda::GemmPrologue;
using cuda::GemmShape;
using cuda::GemmTile;
using cuda::SourceText;

// A tile's rows are normalized by each of its blocks of columns, and by all its threads. Stages for
// all of B where they fit: it is there before the rows are.
constexpr GemmTile kTiles16[] = {
    {16, 64, 128, 1, 4, 3}, {16, 128, 128, 1, 4, 4}, {32, 64, 64, 2, 2, 7}, {32, 64, 64, 2, 2, 4},
    {32, 128, 64, 2, 4, 7}, {32, 128, 64, 2, 4, 3},  {64, 64, 64, 2, 2, 4}, {64, 128, 64, 2, 4, 3}};
constexpr GemmTile kTilesWide[] = {
    {64, 64, 64, 4, 1, 7, 1, true},   {64, 64, 64, 4, 1, 4, 1, true},
    {64, 128, 64, 4, 2, 7, 1, true},  {64, 128, 64, 4, 2, 3, 1, true},
    {64, 128, 64, 4, 1, 3, 1, true},  {64, 256, 64, 4, 2, 4, 1, true},
    {64, 256, 64, 4, 2, 3, 1, true},  {128, 64, 64, 8, 1, 4, 1, true},
    {128, 128, 64, 8, 1, 3, 1, true}, {128, 256, 64, 8, 1, 3, 1, true}};
constexpr GemmTile kTiles32[] = {{64, 64, 32, 2, 2, 3}, {32, 64, 32, 2, 2, 4},
                                 {64, 32, 32, 4, 1, 4}, {16, 32, 32, 1, 2, 4},
                                 {32, 32, 32, 2, 2, 4}, {128, 64, 32, 4, 2, 3}};

int element_of(const Problem& problem) {
  return static_cast<int>(size_of(problem.inputs[0].dtype));
}
int64_t depth_of(const Problem& problem) { return problem.inputs[0].dims.back().constant(); }

// NormGemm's: rows of A, stages of B, the shift.
int64_t shared_bytes(const GemmTile& t, int64_t k, int element) {
  const int64_t row_b = element == 4 ? t.bn + 8 : t.bn;
  return round_up(k, t.bk) * t.bm * element + int64_t{t.stages} * t.bk * row_b * element +
         int64_t{t.bn} * 4;
}

std::vector<GemmTile> tiles_for(int64_t k, int element, const GpuMachine& machine) {
  std::vector<GemmTile> list;
  const auto add = [&](std::span<const GemmTile> tiles) {
    for (GemmTile t : tiles) {
      // Elements of a row in a thread's registers: 16 bytes of every step.
      constexpr int64_t kMostRegisters = 64;
      const int64_t steps = ceil_div(k, t.bk);
      t.stages = static_cast<int>(std::min<int64_t>(t.stages, steps + 1));
      if (steps * (16 / element) <= kMostRegisters &&
          shared_bytes(t, k, element) <= machine.shared_bytes &&
          std::none_of(list.begin(), list.end(),
                       [&](const GemmTile& other) { return other.tactic() == t.tactic(); }))
        list.push_back(t);
    }
  };
  if (element == 4)
    add(kTiles32);
  else
    add(kTiles16);
  if (element == 2 && machine.hopper()) add(kTilesWide);
  return list;
}

double cycles(const GemmTile& tile, int64_t m, int64_t n, int64_t k, int element,
              const GpuMachine& machine) {
  // Instructions of a warp for 32 elements, from the machine code: 5.8 and a row's sums; a
  // multiprocessor issues four a cycle. A row takes some 500 cycles from its first to its last.
  constexpr double kElement = 0.055, kRow = 500;
  const double rows_of_thread =
      static_cast<double>(tile.bm) * tile.bk * element / 16 / tile.threads();
  return cuda::gemm_cycles(
      tile, m, n, k, element, machine,
      {.shared_bytes = shared_bytes(tile, k, element),
       .busy = kElement * static_cast<double>(tile.bm * k),
       .idle = std::max(0.0, kRow * rows_of_thread - kElement * static_cast<double>(tile.bm * k))});
}

Refusal accepts(const Problem& problem, const GpuMachine& machine) {
  if (!is_normalized(problem)) return "rows of A are not normalized";
  if (problem.inputs.size() < 3 || problem.outputs.empty() || problem.epilogue_inputs != 3)
    return "a normalized product needs A, B and a shift, then the epilogue's operands";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand &a = problem.inputs[0], &b = problem.inputs[1], &shift = problem.inputs[2];
  const Shape& out = problem.outputs[0].dims;
  if (out.size() < 2 || a.dims.size() != out.size()) return "A has another rank than the output";
  if (a.dtype != b.dtype)
    return fmt::format("A is {} and B is {}", name_of(a.dtype), name_of(b.dtype));
  if (a.constant || !b.constant || !shift.constant)
    return "A is a constant, or B or the shift is none";
  if (!a.dims.back().is_constant() || !out.back().is_constant()) return "k or n is not constant";
  if (a.dims.back().is(0) || out.back().is(0)) return "k or n is 0";
  if (!a.strides.back().is(1) && !a.dims.back().is(1)) return "the k stride of A is not 1";
  for (size_t d = 0; d + 1 < out.size(); ++d)
    if (a.dims[d] != out[d]) return "A and the output differ in extents";
  if (b.dims != Shape{a.dims.back(), out.back()} || shift.dims != Shape{out.back()})
    return "extents of A, B, shift and the output do not match";
  if (tiles_for(depth_of(problem), element_of(problem), machine).empty())
    return fmt::format("rows of {} do not fit into shared memory and registers",
                       a.dims.back().str());
  return {};
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Dims& out = problem.outputs[0].dims;
  const int64_t n = out.back(), m = element_count(out) / std::max<int64_t>(n, 1),
                k = problem.inputs[0].dims.back();
  const int element = element_of(*problem.problem);
  std::vector<GemmTile> tiles = tiles_for(k, element, machine);
  std::stable_sort(tiles.begin(), tiles.end(), [&](const GemmTile& a, const GemmTile& b) {
    return cycles(a, m, n, k, element, machine) < cycles(b, m, n, k, element, machine);
  });
  std::vector<Tactic> list;
  for (const GemmTile& t : tiles) list.push_back(t.tactic());
  return list;
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine& machine) {
  const Operand &a = problem.inputs[0], &b = problem.inputs[1];
  const int element = element_of(problem);
  const GemmTile tile = tactic.empty() ? tiles_for(depth_of(problem), element, machine)[0]
                                       : GemmTile::from(tactic, element);
  GemmShape shape{};
  shape.dtype = a.dtype;
  shape.n = problem.outputs[0].dims.back().constant();
  shape.k = depth_of(problem);
  shape.constant = true;
  shape.nb = round_up(shape.n, cuda::kGemmPad);
  shape.va = cuda::vector_width(problem, false, 0);
  shape.vb = 16 / element;
  shape.passes = problem.integer("tf32", 0) != 0 ? 1 : 3;

  SourceText text(problem);
  text.include("mma.cuh");
  add_gemm_rows(text, a, tile.bk, shape.va);
  text.add(
      fmt::format("struct Cols {{\n  static __device__ __forceinline__ const {}* row(const Args& "
                  "a, int, int k) "
                  "{{ return a.in1 + k * {}; }}\n}};\n",
                  cuda::c_type(b.dtype), shape.nb));
  const Expr rows = cuda::rows_of(problem.outputs[0]);
  cuda::add_normalized_gemm(text, problem, tile, shape, text.number(rows));
  GpuLaunch launch = cuda::gemm_launch(tile, shape, rows, 1);
  launch.shared_bytes = shared_bytes(tile, shape.k, element);
  return text.finish({std::move(launch)});
}

// A launch of its own, which reads and writes the rows once more.
double norm_cycles(int64_t m, int64_t k, int element) {
  constexpr double kLaunch = 2300, kMegabyte = 1000;  // of a tensor, fitted to rows on an H200
  return kLaunch + kMegabyte * 1e-6 * static_cast<double>(m * k * element);
}

Refusal pays(const BoundProblem& problem, const GpuMachine& machine) {
  const Dims& out = problem.outputs[0].dims;
  const int64_t n = out.back(), m = element_count(out) / std::max<int64_t>(n, 1),
                k = problem.inputs[0].dims.back();
  const int element = element_of(*problem.problem);
  const GemmTile tile = GemmTile::from(tactics(problem, machine)[0], element);
  const double one = cycles(tile, m, n, k, element, machine),
               two =
                   norm_cycles(m, k, element) + cuda::least_gemm_cycles(m, n, k, element, machine);
  if (one <= two) return {};
  return fmt::format(
      "every block of columns would normalize the rows again: {:.0f} cycles are predicted, {:.0f} "
      "in two steps",
      one, two);
}

// B and the shift are copied 16 bytes at a time.
Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  if (index != 1 && index != 2) return dense;
  const int64_t k = index == 1 ? dense.dims()[0] : 1, n = dense.dims().back();
  return cuda::pack_rows(dense.data<float>(), k, n, n, 1);
}

}  // namespace

extern const GpuKernel gemm_cuda_norm;
const GpuKernel gemm_cuda_norm{.name = "gemm_cuda_norm",
                               .family = "gemm",
                               .accepts = accepts,
                               .tactics = tactics,
                               .generate = generate,
                               .pack = pack,
                               .pays = pays};

}  // namespace vitrail
