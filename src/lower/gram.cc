// SPDX-License-Identifier: Apache-2.0
// The two small parts of spectral attention in Gram form (pass spectral_attention): the Gram matrix
// of tokens, and the channel mixing matrix it gives. Both fusions carry their meaning as bodies of
// plain ops; their inputs are in the order the pass gives them.
#include "lower/families.h"

namespace vitrail {

// fusion "gram"(x [b, t, c]) -> [b, c, c].
std::optional<Lowered> lower_gram(const BodyReader& reader, std::string* why) {
  const Shape& x = reader.value(reader.body.inputs[0]).shape;
  if (x.size() != 3) return *why = "the tokens are not [b, t, c]", std::nullopt;
  Lowered out;
  out.inputs.push_back({.io = 0, .axes = {0, 1, 2}, .dims = x, .innermost = 2});
  out.outputs.push_back({.io = 0, .axes = {0, 1, 2}, .dims = {x[0], x[2], x[2]}, .innermost = 2});
  return out;
}

// fusion "spectral"(G [b, c, c], Wq, Wk, Wv [c, h*d], rescale [h], Wproj [h*d, o]) -> [b, c, o],
// attributes heads and eps.
std::optional<Lowered> lower_spectral(const BodyReader& reader, std::string* why) {
  if (reader.body.inputs.size() != 6) return *why = "six inputs are expected", std::nullopt;
  Lowered out;
  for (size_t i = 0; i < 6; ++i) {
    const Shape& dims = reader.value(reader.body.inputs[i]).shape;
    LoweredOperand o =
        plain_operand(reader, reader.body.inputs[i], static_cast<int>(dims.size()) - 1);
    o.packed = i > 0;
    out.inputs.push_back(std::move(o));
  }
  out.problem.ints["heads"] = reader.fusion.attrs.integer("heads");
  out.problem.floats["eps"] = reader.fusion.attrs.number("eps");
  const Shape &g = reader.value(reader.body.inputs[0]).shape,
              &w = reader.value(reader.body.inputs[5]).shape;
  out.outputs.push_back({.io = 0, .axes = {0, 1, 2}, .dims = {g[0], g[1], w[1]}, .innermost = 2});
  return out;
}

}  // namespace vitrail
