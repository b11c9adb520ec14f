// SPDX-License-Identifier: Apache-2.0
// A layer norm's scale and shift as a part of the product after it.
#include "lower/families.h"

namespace vitrail {

LoweredOperand made_operand(Tensor constant, bool packed) {
  Shape dims = to_shape(constant.dims());
  LoweredOperand out{.io = -1,
                     .axes = {},
                     .dims = std::move(dims),
                     .packed = packed,
                     .constant = std::move(constant)};
  for (size_t i = 0; i < out.dims.size(); ++i) out.axes.push_back(static_cast<int>(i));
  return out;
}

bool fold_norm(const BodyReader& reader, const ir::Node& norm, Tensor& weight, Tensor& bias,
               std::string* why) {
  const int64_t c = weight.dims()[0], e = weight.dims()[1];
  const auto row = [&](size_t i) {
    return i < norm.inputs.size() && norm.inputs[i].valid() ? reader.constant(norm.inputs[i])
                                                            : nullptr;
  };
  const Tensor *scale = row(1), *shift = row(2);
  for (const Tensor* t : {scale, shift})
    if (t && (t->dtype() != DType::f32 || t->size() != c))
      return *why = "the norm's scale or shift is no row", false;
  Tensor folded(DType::f32, weight.dims()), sums(DType::f32, bias.dims());
  for (int64_t j = 0; j < e; ++j) {
    double sum = bias.data<float>()[j];
    for (int64_t l = 0; l < c; ++l) {
      const double w = weight.data<float>()[l * e + j];
      folded.mutable_data<float>()[l * e + j] =
          static_cast<float>(scale ? w * static_cast<double>(scale->data<float>()[l]) : w);
      if (shift) sum += w * static_cast<double>(shift->data<float>()[l]);
    }
    sums.mutable_data<float>()[j] = static_cast<float>(sum);
  }
  weight = folded;
  bias = sums;
  return true;
}

}  // namespace vitrail
