// SPDX-License-Identifier: Apache-2.0
#include "zoo/families.h"

namespace vitrail::zoo {

Var Net::ints(const std::vector<int64_t>& values) {
  return g.constant("ints", Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
}
Var Net::number(float value) { return g.constant("number", Tensor::of<float>({}, {value})); }

Var Net::linear(Var x, const std::string& name, int64_t in, int64_t out, bool bias) {
  // MatMul wants [in, out]; the Transpose of a constant is folded when a plan is built.
  const Var weight = g.op("Transpose", {parameter(name + ".weight", {out, in})},
                          {{"perm", std::vector<int64_t>{1, 0}}}, name + "/weight");
  const Var y = g.op("MatMul", {x, weight}, {}, name);
  return bias ? g.op("Add", {y, parameter(name + ".bias", {out})}, {}, name + "/bias") : y;
}

Var Net::conv(Var x, const std::string& name, int64_t in, int64_t out, const Window& w) {
  std::vector<Var> inputs = {x,
                             parameter(name + ".weight", {out, in / w.groups, w.kernel, w.kernel})};
  if (w.bias) inputs.push_back(parameter(name + ".bias", {out}));
  const auto both = [](int64_t v) { return std::vector<int64_t>{v, v}; };
  return g.op("Conv", inputs,
              {{"kernel_shape", both(w.kernel)},
               {"strides", both(w.stride)},
               {"pads", std::vector<int64_t>(4, w.padding)},
               {"group", w.groups}},
              name);
}

Var Net::layer_norm(Var x, const std::string& name, int64_t width, double eps) {
  return g.op("LayerNormalization",
              {x, parameter(name + ".weight", {width}), parameter(name + ".bias", {width})},
              {{"axis", int64_t{-1}}, {"epsilon", eps}}, name);
}

std::vector<std::string> input_dims(const Model& model, const InputSize& size) {
  const auto extent = [&](int64_t asked, const char* symbol, int64_t usual) {
    return asked > 0                          ? std::to_string(asked)
           : model.dynamic_size || usual == 0 ? std::string(symbol)
                                              : std::to_string(usual);
  };
  return {extent(size.batch, "N", 0), "3", extent(size.height, "H", model.height),
          extent(size.width, "W", model.width)};
}

}  // namespace vitrail::zoo
