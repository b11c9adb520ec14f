// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/text.h"
#include "kernels/layernorm/family.h"

namespace vitrail {
namespace {
using namespace cuda;

constexpr int64_t kMostColumns = 4096;  // of a row, in the registers of a warp

Refusal accepts(const Problem& p, const GpuMachine&) {
  const Operand& x = p.inputs.at(0);
  if (x.dims.empty() || !x.dims.back().is_constant() || x.dims.back().constant() > kMostColumns)
    return "rows of unknown length, or longer than 4096";
  if (!x.strides.back().is(1) && !x.dims.back().is(1)) return "rows are not contiguous";
  if (p.epilogue_inputs != 1 + p.integer("has_scale", 0) + p.integer("has_bias", 0))
    return "epilogue_inputs do not follow scale and bias";
  return check_float_operands(p);
}

// warps: rows of a block.
std::vector<Tactic> tactics(const BoundProblem& p, const GpuMachine& machine) {
  const int64_t rows =
      element_count(p.inputs[0].dims) / std::max<int64_t>(1, p.inputs[0].dims.back());
  const int64_t best = rows >= 8 * machine.multiprocessors   ? 8
                       : rows >= 4 * machine.multiprocessors ? 4
                                                             : 2;
  std::vector<Tactic> out = {{{"warps", best}}};
  for (int64_t warps : {2, 4, 8})
    if (warps != best) out.push_back({{"warps", warps}});
  return out;
}

GpuCode generate(const Problem& p, const Tactic& tactic, const GpuMachine&) {
  const Operand& x = p.inputs[0];
  const int64_t c = x.dims.back().constant(),
                warps = tactic.contains("warps") ? tactic.at("warps") : 4;
  SourceText text(p);
  int width = std::min({8, vector_width(p, false, 0), tail_width(p)});
  while (width > 1 && 32 * width / 2 >= c) width /= 2;  // every lane has something to do
  text.tail(width);
  const int64_t parts = (c + 32 * width - 1) / (32 * width);
  const Expr rows = rows_of(x);
  const int threads = static_cast<int>(32 * warps);
  const int scale = p.integer("has_scale", 0) ? 1 : 0,
            bias = p.integer("has_bias", 0) ? 1 + scale : 0;
  std::string body = fmt::format(
      "  vt_trigger();\n  const int row = vt_block(a) * {0} + threadIdx.x / 32, lane = threadIdx.x "
      "% 32;\n  if (row >= {1}) return;\n"
      "  float x[{2}][{3}];\n  const {4}* from = a.in0 + {5};\n  vt_wait();\n  float sum = 0;\n"
      "#pragma unroll\n  for (int i = 0; i < {2}; ++i) {{\n    const int col = (i * 32 + lane) * "
      "{3};\n"
      "    if (col + {3} <= {6}) vt_load<{3}>(from + col, x[i]);\n    else\n#pragma unroll\n      "
      "for (int j = 0; j < {3}; ++j) x[i][j] = col + j < {6} ? vt_float(from[col + j]) : 0.0f;\n"
      "#pragma unroll\n    for (int j = 0; j < {3}; ++j) sum += x[i][j];\n  }}\n"
      "  const float mean = vt_warp_sum(sum) * (1.0f / {6});\n  float squares = 0;\n"
      "#pragma unroll\n  for (int i = 0; i < {2}; ++i)\n#pragma unroll\n    for (int j = 0; j < "
      "{3}; ++j) {{\n"
      "      x[i][j] -= mean;\n      if ((i * 32 + lane) * {3} + j < {6}) squares = fmaf(x[i][j], "
      "x[i][j], squares);\n    }}\n"
      "  const float inverse = 1.0f / sqrtf(vt_warp_sum(squares) * (1.0f / {6}) + {7});\n",
      warps, text.number(rows), parts, width, c_type(x.dtype), text.row_offset(x, "row"), c,
      literal(p.number("eps", 1e-5)));
  const auto factor = [&](int index, const char* none) {
    if (!index) return std::string(none);
    return fmt::format("vt_float(a.in{}[(col + j) * {}])", index,
                       text.number(p.inputs[static_cast<size_t>(index)].strides.back()));
  };
  body += fmt::format(
      "#pragma unroll\n  for (int i = 0; i < {0}; ++i) {{\n    const int col = (i * 32 + lane) * "
      "{1};\n    if (col >= {2}) break;\n"
      "#pragma unroll\n    for (int j = 0; j < {1}; ++j)\n      if (col + j < {2}) x[i][j] = "
      "x[i][j] * inverse * {3} + {4};\n"
      "    vt_finish<Tail>(a, row, col, {2}, x[i]);\n  }}\n",
      parts, width, c, factor(scale, "1.0f"), factor(bias, "0.0f"));
  text.entry("layernorm", threads, body);
  return text.finish(
      {{.entry = "layernorm", .grid = {ceildiv(rows, warps), 1, 1}, .threads = threads}});
}

}  // namespace

extern const GpuKernel layernorm_cuda;
const GpuKernel layernorm_cuda{.name = "layernorm_cuda",
                               .family = "layernorm",
                               .accepts = accepts,
                               .tactics = tactics,
                               .generate = generate};

}  // namespace vitrail
