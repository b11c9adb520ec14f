// SPDX-License-Identifier: Apache-2.0
// Copies between memories that run along different axes: squares go through shared memory, so that
// both sides are accessed along their own.
#include <algorithm>
#include <optional>

#include "kernels/copy/family.h"
#include "kernels/cuda/text.h"

namespace vitrail {
namespace {
using cuda::SourceText;

constexpr int kTile = 32, kThreads = 256;

/// The axes along which input and output run.
struct Axes {
  size_t in, out;
};
std::optional<size_t> running(const Operand& o) {
  for (size_t i = 0; i < o.dims.size(); ++i)
    if (!o.dims[i].is(1) && o.strides[i].is(1)) return i;
  return {};
}

Refusal accepts(const Problem& p, const GpuMachine&) {
  const Operand &x = p.inputs.at(0), &out = p.outputs.at(0);
  if (x.dtype != out.dtype && !(is_float(x.dtype) && is_float(out.dtype) && x.dtype != DType::f64 &&
                                out.dtype != DType::f64))
    return "the types differ";
  if (x.dtype == DType::string) return "strings";
  const auto from = running(x), to = running(out);
  if (!from || !to) return "no side runs along an axis";
  if (*from == *to) return "both run along one axis";
  return {};
}
std::vector<Tactic> tactics(const BoundProblem&, const GpuMachine&) { return {{}}; }

GpuCode generate(const Problem& p, const Tactic&, const GpuMachine&) {
  const Operand &x = p.inputs[0], &out = p.outputs[0];
  const Axes axes{running(x).value(), running(out).value()};
  SourceText text(p);
  const auto n = [&](const Expr& e) { return text.number(e); };
  // What is left of the axes, as one index.
  const auto rest = [&](const Operand& o) {
    Operand out_of;
    for (size_t i = 0; i < o.dims.size(); ++i)
      if (i != axes.in && i != axes.out) {
        out_of.dims.push_back(o.dims[i]);
        out_of.strides.push_back(o.strides[i]);
      }
    return out_of;
  };
  const Operand from = rest(x), to = rest(out);
  const Expr cols = x.dims[axes.in], rows = x.dims[axes.out],
             tiles = ceildiv(cols, kTile) * ceildiv(rows, kTile) * element_count(from.dims);
  const std::string value = x.dtype == out.dtype ? "square[c][r]"
                                                 : fmt::format("vt_to<{}>(vt_float(square[c][r]))",
                                                               cuda::c_type(out.dtype));
  text.entry(
      "transpose", kThreads,
      fmt::format(R"(  __shared__ {0} square[{1}][{1} + 1];
  vt_trigger();
  const int across = ({2} + {1} - 1) / {1}, down = ({3} + {1} - 1) / {1};
  const int rest = blockIdx.x / (across * down), c0 = (int)blockIdx.x % across * {1}, r0 = (int)blockIdx.x / across % down * {1};
  const int lane = threadIdx.x % {1}, line = threadIdx.x / {1};
  vt_wait();
#pragma unroll
  for (int i = line; i < {1}; i += {4})
    if (c0 + lane < {2} && r0 + i < {3}) square[lane][i] = a.in0[{5} + (r0 + i) * {6} + c0 + lane];
  __syncthreads();
#pragma unroll
  for (int c = line; c < {1}; c += {4}) {{
    const int r = lane;
    if (c0 + c < {2} && r0 + r < {3}) a.out0[{7} + (c0 + c) * {8} + r0 + r] = {9};
  }}
)",
                  cuda::c_type(x.dtype), kTile, n(cols), n(rows), kThreads / kTile,
                  text.offset(from, 0, from.dims.size(), "rest"), n(x.strides[axes.out]),
                  text.offset(to, 0, to.dims.size(), "rest"), n(out.strides[axes.in]), value));
  return text.finish({{.entry = "transpose", .grid = {tiles, 1, 1}, .threads = kThreads}});
}

}  // namespace

extern const GpuKernel copy_cuda_transpose;
const GpuKernel copy_cuda_transpose{.name = "copy_cuda_transpose",
                                    .family = "copy",
                                    .accepts = accepts,
                                    .tactics = tactics,
                                    .generate = generate};

}  // namespace vitrail
