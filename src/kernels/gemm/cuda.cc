// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tiles.h"
#include "kernels/gemm/family.h"

namespace vitrail {
namespace {
using namespace cuda;

constexpr int64_t kPad = 8;  // columns of a packed B are filled up to 16 bytes of f16

Refusal accepts(const Problem& p, const GpuMachine&) {
  if (is_normalized(p)) return "it does not normalize rows of A";
  if (p.epilogue_inputs != 2 || p.inputs.size() < 2) return "epilogue_inputs is not 2";
  const Operand &a = p.inputs[0], &b = p.inputs[1];
  if (a.dims.size() < 2 || (b.constant ? b.dims.size() != 2 : b.dims.size() != a.dims.size()))
    return "ranks do not fit";
  if (b.constant && !is_static(b.dims)) return "a weight of unknown extents";
  return check_float_operands(p);
}

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  if (index != 1) return dense;
  const int64_t k = dense.dims()[0], n = dense.dims()[1], padded = (n + kPad - 1) / kPad * kPad;
  Tensor out(DType::f32, {k, padded});
  float* to = out.mutable_data<float>();
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < padded; ++j) *to++ = j < n ? dense.data<float>()[i * n + j] : 0.0f;
  return out;
}

std::vector<Tactic> tactics(const BoundProblem& p, const GpuMachine& machine) {
  const Dims& out = p.outputs[0].dims;
  const int64_t m = out[out.size() - 2], n = out.back(),
                batch = element_count(out) / std::max<int64_t>(1, m * n);
  const bool constant = p.inputs[1].constant;
  return tile_tactics(p.inputs[1].dtype, constant ? m * batch : m, n, constant ? 1 : batch,
                      machine);
}

GpuCode generate(const Problem& p, const Tactic& tactic, const GpuMachine&) {
  const DType type = compute_type(p);
  const Tile tile = tile_of(tactic, type);
  const Operand &a = p.inputs[0], &b = p.inputs[1], &out = p.outputs[0];
  const size_t rank = out.dims.size();
  const Expr &k = a.dims.back(), &n = out.dims.back(), m = out.dims[rank - 2];
  const int chunk = 16 / static_cast<int>(size_of(type));
  const Expr rows = b.constant ? rows_of(out) : m;
  const Expr batch = b.constant ? Expr(1) : [&] {
    Expr count = 1;
    for (size_t i = 0; i + 2 < rank; ++i) count *= out.dims[i];
    return count;
  }();
  const bool a16 = a.dtype == type && vector_width(p, false, 0) >= chunk;
  const bool b16 = b.constant || (b.dtype == type && vector_width(p, false, 1) >= chunk);

  SourceText text(p);
  text.tail(std::min(2, tail_width(p, 8)));
  text.include("gemm.cuh");
  const std::string z = b.constant ? "0" : "(int)blockIdx.y",
                    global = fmt::format("({} * {} + r)", z, text.number(m));
  std::string s =
      "struct P {\n" + tile_members(p, tile, a16, b16, !a.strides.back().is(1), b.constant);
  s += fmt::format(
      "  static __device__ int rows(const Args& a) {{ return {}; }}\n  static __device__ int "
      "cols(const Args& a) {{ return {}; }}\n"
      "  static __device__ int depth(const Args& a) {{ return {}; }}\n",
      text.number(rows), text.number(n), text.number(k));
  const std::string count = text.number(rows), depth = text.number(k), cols = text.number(n);
  s += fmt::format(
      "  struct Row {{ const {0}* from; }};\n"
      "  static __device__ __forceinline__ Row row(const Args& a, int r) {{ const int at = {1}; "
      "return {{r < {2} ? a.in0 + {3} : nullptr}}; }}\n"
      "  static __device__ __forceinline__ const {0}* a_at(const Args& a, const Row& row, int k, "
      "int& count) {{\n"
      "    count = row.from ? {4} - k : 0;\n    return count > 0 ? row.from + k : a.in0;\n  }}\n"
      "  static __device__ __forceinline__ float a_one(const Args& a, const Row& row, int k) {{ "
      "return row.from && k < {4} ? vt_float(row.from[k * {5}]) : 0.0f; }}\n",
      c_type(a.dtype), b.constant ? "r" : global, count, text.row_offset(a, "at"), depth,
      text.number(a.strides.back()));
  std::string base = "a.in1", row_stride, col_stride = "1";
  if (b.constant) {
    row_stride = text.number(Expr((b.dims[1].constant() + kPad - 1) / kPad * kPad));
  } else {
    s += fmt::format(
        "  static __device__ __forceinline__ int b_start(const Args& a) {{ const int z = {}; "
        "return {}; }}\n",
        z, text.offset(b, 0, rank - 2, "z"));
    base = "a.in1 + b_start(a)";
    row_stride = text.number(b.strides[rank - 2]);
    col_stride = text.number(b.strides[rank - 1]);
  }
  s += fmt::format(
      "  static __device__ __forceinline__ const {0}* b_at(const Args& a, int k, int n, int& "
      "count) {{\n"
      "    count = k < {1} ? {2} - n : 0;\n    return count > 0 ? {3} + k * {4} + n : a.in1;\n  "
      "}}\n"
      "  static __device__ __forceinline__ float b_one(const Args& a, int k, int n) {{ return k < "
      "{1} && n < {2} ? vt_float(({3})[k * {4} + n * {5}]) : 0.0f; }}\n"
      "  static __device__ __forceinline__ int first_col(const Args& a) {{ return 0; }}\n"
      "  static __device__ __forceinline__ int out_row(const Args& a, int r) {{ return r < {6} ? "
      "{7} : -1; }}\n}};\n",
      c_type(b.dtype), depth, cols, base, row_stride, col_stride, count, b.constant ? "r" : global);
  text.add(s);
  add_tile_entry(text, tile, n);
  return text.finish({tile_launch(tile, type, rows, n, batch)});
}

}  // namespace

extern const GpuKernel gemm_cuda;
const GpuKernel gemm_cuda{.name = "gemm_cuda",
                          .family = "gemm",
                          .accepts = accepts,
                          .tactics = tactics,
                          .generate = generate,
                          .pack = pack};

}  // namespace vitrail
