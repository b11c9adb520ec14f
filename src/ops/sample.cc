// SPDX-License-Identifier: Apache-2.0
#include "ops/sample.h"

#include <cmath>
#include <random>

namespace vitrail {
namespace {
Tensor draw(const SampleInput& input, std::mt19937_64& random) {
  if (input.absent) return {};
  if (input.fixed.defined()) return input.fixed;
  Tensor out(input.dtype, input.dims);
  with_type(input.dtype, "sample", [&](auto tag) {
    using T = decltype(tag);
    T* to = out.mutable_data<T>();
    for (int64_t i = 0; i < out.size(); ++i) {
      // 53 bits of the generator, not std::uniform_real_distribution, whose stream the standard
      // leaves open.
      const double unit = static_cast<double>(random() >> 11) * 0x1p-53;
      if constexpr (std::is_same_v<T, bool>)
        to[i] = unit < 0.5;
      else if constexpr (std::is_integral_v<T>)
        to[i] = static_cast<T>(std::floor(input.low + unit * (input.high - input.low + 1)));
      else
        to[i] = static_cast<T>(input.low + unit * (input.high - input.low));
    }
  });
  return out;
}
std::vector<const Tensor*> pointers(const std::vector<Tensor>& inputs) {
  std::vector<const Tensor*> out;
  for (const Tensor& t : inputs) out.push_back(t.defined() ? &t : nullptr);
  return out;
}
}  // namespace

std::vector<Tensor> draw_inputs(const Sample& sample, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Tensor> out;
  for (const SampleInput& input : sample.inputs) out.push_back(draw(input, random));
  return out;
}

std::vector<Tensor> run_reference(const OpDef& op, const Attrs& attrs,
                                  const std::vector<Tensor>& inputs, int outputs) {
  RunContext ctx{attrs, pointers(inputs), std::vector<Tensor>(static_cast<size_t>(outputs))};
  op.reference(ctx);
  for (size_t i = 0; i < ctx.outputs.size(); ++i)
    require(ctx.outputs[i].defined(), Code::internal, "{}: the reference left output {} undefined",
            op.name, i);
  return std::move(ctx.outputs);
}

std::vector<ValueInfo> infer_constants(const OpDef& op, const Attrs& attrs,
                                       const std::vector<Tensor>& inputs, int outputs) {
  std::vector<ValueInfo> infos;
  infos.reserve(inputs.size());
  InferContext ctx{attrs, {}, std::vector<ValueInfo>(static_cast<size_t>(outputs)), op.name, {},
                   {},    {}};
  for (const Tensor& t : inputs) {
    if (t.defined()) infos.push_back({t.dtype(), to_shape(t.dims()), &t, {}});
    ctx.inputs.push_back(t.defined() ? &infos.back() : nullptr);
  }
  for (ValueInfo& out : ctx.outputs)
    if (ctx.has(0)) out.dtype = ctx.in(0).dtype;
  int symbols = 0;
  ctx.data_symbol = [&](const std::string& hint, const Expr&) {
    return Expr::symbol("data." + hint + std::to_string(symbols++));
  };
  op.infer(ctx);
  return std::move(ctx.outputs);
}

}  // namespace vitrail
