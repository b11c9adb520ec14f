// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv/samples.h"

#include "kernels/gemm/samples.h"

namespace vitrail {

Problem conv_problem(const ConvCase& c, bool transposed, int64_t extra) {
  Problem p;
  p.family = transposed ? "conv_transpose" : "conv";
  p.ints = {{"stride_h", c.stride},     {"stride_w", c.stride},     {"pad_top", c.pad},
            {"pad_left", c.pad},        {"pad_bottom", c.pad},      {"pad_right", c.pad},
            {"dilation_h", c.dilation}, {"dilation_w", c.dilation}, {"group", c.group}};
  const auto dense = [](Shape dims) {
    Operand out;
    out.strides = row_major(dims);
    out.dims = std::move(dims);
    return out;
  };
  const auto extent = [&](const Expr& in, int64_t k) {
    const int64_t reach = c.dilation * (k - 1) + 1;
    return transposed ? (in - 1) * c.stride + reach - 2 * c.pad + extra
                      : floordiv(in + (2 * c.pad - reach), c.stride) + 1;
  };
  Operand weight = transposed ? dense({c.c, c.o / c.group, c.kh, c.kw})
                              : dense({c.o, c.c / c.group, c.kh, c.kw});
  weight.constant = true;
  p.inputs = {dense({c.n, c.h, c.w, c.c}), weight};
  p.outputs = {dense({c.n, extent(c.h, c.kh), extent(c.w, c.kw), c.o})};
  p.epilogue_inputs = 2;
  add_sample_epilogue(p, c.epilogue);
  return p;
}

}  // namespace vitrail
