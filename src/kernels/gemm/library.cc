// SPDX-License-Identifier: Apache-2.0
// Products by cuBLASLt. Bias, ReLU, tanh-GELU and a residual are its own epilogue where types and
// layouts allow; other epilogues (the erf-GELU among them, which cuBLASLt does not have) read a
// float32 product from the workspace, so that results are rounded once.
#include <algorithm>

#include "backends/cuda/cublas_lt.h"
#include "base/round.h"
#include "kernels/cuda/mma_tiles.h"
#include "kernels/gemm/family.h"
#include "kernels/library_epilogue.h"

namespace vitrail {
namespace {

constexpr int kTactics = 6;
constexpr int64_t kAlign = 256, kWorkspace = 4 << 20;
constexpr int64_t kPad = 4;  // rows of a product in the workspace start at multiples of 16 bytes

using Numbers = std::map<std::string, Expr, std::less<>>;

// A product as the library takes it, or why not.
struct Product {
  std::string refused;
  Numbers numbers;
  bool fused = false;  // the epilogue is the library's; otherwise D is the workspace
  Expr product_bytes = 0;
};

// Axes first..last-1 as one, skipping those of one element.
bool merge(const Operand& o, size_t first, size_t last, Expr& count, Expr& stride) {
  bool any = false;
  count = 1, stride = 0;
  for (size_t i = last; i-- > first;) {
    if (o.dims[i].is(1)) continue;
    if (any && o.strides[i] != stride * count) return false;
    if (!any) stride = o.strides[i];
    count = any ? count * o.dims[i] : o.dims[i];
    any = true;
  }
  return true;
}

// Whether rows of `width` elements that lie `ld` apart are known not to overlap.
bool apart(const Expr& ld, const Expr& width) {
  if (ld == width) return true;
  if (ld.is_constant() && width.is_constant()) return ld.constant() >= width.constant();
  Expr quotient;
  return !ld.is_constant() && divides(width, ld, &quotient) &&
         !(quotient.is_constant() && quotient.constant() < 1);
}

// Rows of A (and of D and C, where they are operands) as one matrix or a batch of them.
struct Rows {
  Expr batch = 1, count;
  struct Side {
    Expr ld, stride;
  };
  std::vector<Side> sides;
};

bool rows_of(const std::vector<const Operand*>& operands, bool merged, Rows& out) {
  const size_t rank = operands[0]->dims.size(), rows = rank - 2;
  for (const Operand* o : operands) {
    Rows::Side side;
    if (merged) {
      if (!merge(*o, 0, rank - 1, out.count, side.ld)) return false;
      side.stride = 0;
    } else {
      if (!merge(*o, 0, rows, out.batch, side.stride)) return false;
      out.count = o->dims[rows];
      side.ld = o->strides[rows];
    }
    out.sides.push_back(side);
  }
  return true;
}

Product product_of(const Problem& p) {
  Product out;
  const auto refuse = [&](std::string why) {
    out.refused = std::move(why);
    return out;
  };
  if (is_normalized(p)) return refuse("it does not normalize rows of A");
  if (p.inputs.size() < 2 || p.outputs.empty() || p.epilogue_inputs != 2)
    return refuse("gemm needs A, B and an output");
  if (p.fixed_order) return refuse("its order of sums is not known, and may follow the extents");
  if (Refusal why = cuda::check_float_operands(p); !why.empty()) return refuse(std::move(why));
  const Operand &a = p.inputs[0], &b = p.inputs[1], &d = p.outputs[0];
  const size_t rank = d.dims.size();
  if (rank < 2 || a.dims.size() != rank || b.dims.size() != (b.constant ? 2 : rank))
    return refuse("ranks do not fit");
  if (a.dtype != b.dtype)
    return refuse(fmt::format("A is {} and B is {}", name_of(a.dtype), name_of(b.dtype)));
  const Expr &n = d.dims.back(), &k = a.dims.back();
  if (a.constant || k.is(0) || n.is(0)) return refuse("A is a constant, or an extent is 0");
  for (size_t i = 0; i + 1 < rank; ++i)
    if (a.dims[i] != d.dims[i] || (!b.constant && i + 2 < rank && b.dims[i] != d.dims[i]))
      return refuse("A, B and the output differ in extents");
  if (b.dims.back() != n || b.dims[b.dims.size() - 2] != k)
    return refuse("extents of A, B and the output do not match");

  LibraryEpilogue epilogue;
  const bool plain = d.strides.back().is(1) || n.is(1);
  bool fused =
      (d.dtype == a.dtype || d.dtype == DType::f32) && plain && library_epilogue(p, epilogue);
  Rows rows;
  const auto lay = [&](bool with_outputs) {
    std::vector<const Operand*> operands = {&a};
    if (with_outputs) operands.push_back(&d);
    if (with_outputs && epilogue.residual >= 0)
      operands.push_back(&p.inputs[static_cast<size_t>(epilogue.residual)]);
    for (const bool merged : {true, false}) {
      if (merged && !b.constant) continue;
      rows = {};
      if (rows_of(operands, merged, rows)) return true;
    }
    return false;
  };
  const auto fits = [&](size_t side) { return rows.count.is(1) || apart(rows.sides[side].ld, n); };
  if (fused) {
    fused = lay(true);
    for (size_t side = 1; fused && side < rows.sides.size(); ++side) fused = fits(side);
  }
  if (!fused && !lay(false)) return refuse("rows or batches of A do not lie evenly");

  const auto number = [&](const char* name, const Expr& e) { out.numbers[name] = e; };
  const auto pitch = [&](const Expr& ld, const Expr& count, const Expr& width) {
    return count.is(1) ? width : ld;  // one row: its pitch says nothing
  };
  const auto address = [&](int input) { return Expr(input); };
  const auto type = [](DType t) { return Expr(static_cast<int64_t>(t)); };
  const bool trans_a = !k.is(1) && !a.strides.back().is(1);
  if (trans_a && !rows.sides[0].ld.is(1)) return refuse("neither stride of A is 1");
  const Expr lda =
      trans_a ? pitch(a.strides.back(), k, rows.count) : pitch(rows.sides[0].ld, rows.count, k);
  if (!apart(lda, trans_a ? rows.count : k)) return refuse("rows of A may overlap");
  Expr ldb, stride_b = 0;
  bool trans_b = false;
  if (b.constant) {
    ldb = round_up(n.is_constant() ? n.constant() : 0, int64_t{8});
    if (!n.is_constant()) return refuse("a weight of unknown extents");
  } else {
    const Expr &along_k = b.strides[rank - 2], &along_n = b.strides.back();
    trans_b = !(along_n.is(1) || n.is(1));
    if (trans_b && !(along_k.is(1) || k.is(1))) return refuse("neither stride of B is 1");
    ldb = trans_b ? pitch(along_n, n, k) : pitch(along_k, k, n);
    if (!apart(ldb, trans_b ? k : n)) return refuse("rows of B may overlap");
    Expr batch;
    if (!merge(b, 0, rank - 2, batch, stride_b)) return refuse("batches of B do not lie evenly");
  }
  const int inputs = static_cast<int>(p.inputs.size()),
            outputs = static_cast<int>(p.outputs.size());
  const int workspace = inputs + outputs;
  const auto align = [&](bool output, int index) {
    return Expr(cuda::known_alignment(p, output, static_cast<size_t>(index)));
  };
  number("batch", rows.batch), number("m", rows.count), number("n", n), number("k", k);
  number("a", address(0)), number("b", address(1)), number("bias", Expr(epilogue.bias));
  number("lda", lda), number("ldb", ldb), number("trans_a", trans_a), number("trans_b", trans_b);
  number("stride_a", rows.sides[0].stride), number("stride_b", stride_b);
  number("type", type(a.dtype)), number("tf32", a.dtype == DType::f32 && p.integer("tf32", 0) != 0);
  number("align_a", align(false, 0)), number("align_b", b.constant ? Expr(16) : align(false, 1));
  number("workspace_at", workspace);
  out.fused = fused;
  if (fused) {
    number("d", inputs), number("d_offset", 0), number("d_type", type(d.dtype));
    number("ldd", pitch(rows.sides[1].ld, rows.count, n)), number("stride_d", rows.sides[1].stride);
    number("align_d", align(true, 0)), number("activation", epilogue.activation);
    number("c", Expr(epilogue.residual)), number("c_type", type(d.dtype));
    if (epilogue.residual >= 0) {
      number("ldc", pitch(rows.sides[2].ld, rows.count, n));
      number("stride_c", rows.sides[2].stride);
    }
    number("align_c", epilogue.residual >= 0 ? align(false, epilogue.residual) : align(true, 0));
    return out;
  }
  const Expr ldd = ceildiv(n, kPad) * kPad;
  number("d", workspace), number("d_type", type(DType::f32)), number("c_type", type(DType::f32));
  number("ldd", ldd), number("stride_d", rows.count * ldd);
  number("align_c", 16), number("align_d", 16), number("activation", 0), number("c", -1);
  number("bias", -1);
  out.product_bytes = rows.batch * rows.count * ldd * 4;
  return out;
}

Refusal accepts(const Problem& p, const GpuMachine& machine) {
  if (machine.cublas_lt.version == 0) return machine.cublas_lt.missing;
  return product_of(p).refused;
}

std::vector<Tactic> tactics(const BoundProblem& bound, const GpuMachine& machine) {
  const Product product = product_of(constant_problem(bound));
  if (!product.refused.empty() || element_count(bound.outputs[0].dims) == 0) return {};
  Bindings numbers;
  for (const auto& [name, e] : product.numbers) numbers[name] = e.constant();
  return cuda::cublas_lt_tactics(cuda::Device::open(machine.device), numbers, kTactics);
}

GpuCode generate(const Problem& p, const Tactic& tactic, const GpuMachine& machine) {
  Product product = product_of(p);
  int64_t workspace = kWorkspace;
  for (const auto& [name, value] : tactic) {
    if (name == "workspace") workspace = round_up(value, kAlign);
    product.numbers[name] = value;
  }
  product.numbers["workspace"] = workspace;
  if (!product.fused) product.numbers["d_offset"] = workspace;
  GpuLaunch call;
  call.library = {"cublasLt", machine.cublas_lt.version, "matmul", std::move(product.numbers)};
  if (product.fused) return {.source = {}, .launches = {call}, .workspace_bytes = workspace};

  constexpr int kThreads = 256;
  const Operand& out = p.outputs[0];
  cuda::SourceText text(p);
  const int width = std::min(8, cuda::tail_width(p));
  text.tail(width);
  const Expr chunks = ceildiv(out.dims.back(), width), items = cuda::rows_of(out) * chunks;
  const std::string cols = text.number(out.dims.back()), wide = text.number(chunks);
  text.entry(
      "finish", kThreads,
      fmt::format("  vt_trigger();\n  const int item = blockIdx.x * {0} + threadIdx.x;\n"
                  "  if (item >= {1}) return;\n"
                  "  const int row = item / {2}, col = item % {2} * {3};\n  vt_wait();\n"
                  "  const float* from = reinterpret_cast<const float*>(a.workspace + {4}) + "
                  "(long long)row * {5} + col;\n  float x[{3}];\n"
                  "  if (col + {3} <= {6}) vt_load<{3}>(from, x);\n  else\n"
                  "  for (int i = 0; i < {3}; ++i) x[i] = col + i < {6} ? from[i] : 0.0f;\n"
                  "  vt_finish<Tail>(a, row, col, {6}, x);\n",
                  kThreads, text.number(items), wide, width, workspace,
                  text.number(ceildiv(out.dims.back(), kPad) * kPad), cols));
  GpuCode code = text.finish(
      {{.entry = "finish", .grid = {ceildiv(items, kThreads), 1, 1}, .threads = kThreads}},
      product.product_bytes + workspace);
  code.launches.insert(code.launches.begin(), std::move(call));
  return code;
}

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  if (index != 1) return dense;
  return cuda::pack_rows(dense.data<float>(), dense.dims()[0], dense.dims()[1], dense.dims()[1], 1);
}

// Fitted to docs/results/gpu_libraries.md: the library starts later than a kernel of ours, which
// takes part in programmatic launches, and is faster per product.
bool preferred(const BoundProblem& bound, const GpuMachine&) {
  const Problem& p = *bound.problem;
  const double products = static_cast<double>(element_count(bound.outputs[0].dims)) *
                          static_cast<double>(bound.inputs[0].dims.back());
  const bool fused = product_of(p).fused;
  if (size_of(p.inputs[0].dtype) == 2) return products >= (fused ? 8e9 : 3e10);
  return p.integer("tf32", 0) == 0 && products >= 1e9;
}

}  // namespace

extern const GpuKernel gemm_cublaslt;
const GpuKernel gemm_cublaslt{.name = "gemm_cublaslt",
                              .family = "gemm",
                              .accepts = accepts,
                              .tactics = tactics,
                              .generate = generate,
                              .pack = pack,
                              .preferred = preferred};

}  // namespace vitrail
