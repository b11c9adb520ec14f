// SPDX-License-Identifier: Apache-2.0
// Tensor-core rows of gemm: 16-bit operands, float32 by three products of tf32 halves, tf32.
#include <algorithm>

#include "kernels/cuda/mma_tiles.h"
#include "kernels/gemm/cuda_rows.h"
#include "kernels/gemm/family.h"

namespace vitrail {
namespace {
using cuda::GemmShape;
using cuda::GemmTile;
using cuda::SourceText;

int element_of(const Problem& problem) {
  return static_cast<int>(size_of(problem.inputs[0].dtype));
}

/// Elements of one asynchronous copy, at most 16 bytes; 4 bytes at least except element by element.
int copy_width(const Problem& problem, size_t index) {
  return cuda::vector_width(problem, false, index);
}

Refusal accepts(const Problem& problem, const GpuMachine&) {
  if (problem.inputs.size() < 2 || problem.outputs.empty()) return "gemm needs A, B and an output";
  if (is_normalized(problem)) return "it does not normalize rows of A";
  if (problem.epilogue_inputs < 2) return "epilogue operands start at input 2";
  if (Refusal why = cuda::check_float_operands(problem); !why.empty()) return why;
  const Operand &a = problem.inputs[0], &b = problem.inputs[1];
  const Shape& out = problem.outputs[0].dims;
  const size_t rank = out.size();
  if (rank < 2 || a.dims.size() != rank) return "A has another rank than the output";
  if (a.dtype != b.dtype)
    return fmt::format("A is {} and B is {}", name_of(a.dtype), name_of(b.dtype));
  if (a.constant) return "A is a constant";
  if (b.dims.size() != (b.constant ? 2 : rank)) return "B has another rank";
  if (!a.dims.back().is_constant() || !out.back().is_constant()) return "k or n is not constant";
  if (a.dims.back().is(0) || out.back().is(0)) return "k or n is 0";
  if (!a.strides.back().is(1) && !a.dims.back().is(1)) return "the k stride of A is not 1";
  for (size_t d = 0; d + 1 < rank; ++d)
    if (a.dims[d] != out[d]) return "A and the output differ in extents";
  if (!b.constant) {
    if (!b.strides.back().is(1)) return "the n stride of B is not 1";
    for (size_t d = 0; d + 2 < rank; ++d)
      if (b.dims[d] != out[d]) return "B and the output differ in extents";
  }
  if (b.dims[b.dims.size() - 2] != a.dims.back() || b.dims.back() != out.back())
    return "extents of A, B and the output do not match";
  return {};
}

std::vector<Tactic> tactics(const BoundProblem& problem, const GpuMachine& machine) {
  const Dims& out = problem.outputs[0].dims;
  return cuda::gemm_tactics(element_count(out) / std::max<int64_t>(out.back(), 1), out.back(),
                            problem.inputs[0].dims.back(), element_of(*problem.problem),
                            problem.inputs[1].constant, machine);
}

GpuCode generate(const Problem& problem, const Tactic& tactic, const GpuMachine&) {
  const Operand &a = problem.inputs[0], &b = problem.inputs[1];
  const size_t rank = a.dims.size();
  const int element = element_of(problem);
  GemmShape shape{};
  shape.dtype = a.dtype;
  shape.n = problem.outputs[0].dims.back().constant();
  shape.k = a.dims.back().constant();
  shape.constant = b.constant;
  shape.nb =
      b.constant ? (shape.n + cuda::kGemmPad - 1) / cuda::kGemmPad * cuda::kGemmPad : shape.n;
  shape.va = copy_width(problem, 0);
  shape.vb = b.constant ? 16 / element : copy_width(problem, 1);
  shape.passes = problem.integer("tf32", 0) != 0 ? 1 : 3;
  const GemmTile tile = cuda::fitted(GemmTile::from(tactic, element), shape, problem);

  SourceText text(problem);
  text.include("mma.cuh");
  add_gemm_rows(text, a, tile.bk, shape.va);
  const std::string start = b.constant ? "0" : text.offset(b, 0, rank - 2, "batch");
  text.add(fmt::format(
      "struct Cols {{\n  static __device__ __forceinline__ const {}* row(const Args& a, int batch, "
      "int k) {{ return a.in1 + {} + k * {}; }}\n}};\n",
      cuda::c_type(b.dtype), start,
      b.constant ? std::to_string(shape.nb) : text.number(b.strides[rank - 2])));
  Expr rows = cuda::rows_of(problem.outputs[0]), batch = 1;
  if (!b.constant) {
    rows = problem.outputs[0].dims[rank - 2];
    for (size_t d = 0; d + 2 < rank; ++d) batch *= problem.outputs[0].dims[d];
  }
  cuda::add_gemm(text, problem, tile, shape, text.number(rows));
  return text.finish({cuda::gemm_launch(tile, shape, rows, batch)});
}

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  if (index != 1) return dense;
  return cuda::pack_rows(dense.data<float>(), dense.dims()[0], dense.dims()[1], dense.dims()[1], 1);
}

}  // namespace

extern const GpuKernel gemm_cuda_mma;
const GpuKernel gemm_cuda_mma{.name = "gemm_cuda_mma",
                              .family = "gemm",
                              .accepts = accepts,
                              .tactics = tactics,
                              .generate = generate,
                              .pack = pack};

}  // namespace vitrail
