// SPDX-License-Identifier: Apache-2.0
// ONNX BitShift, BitwiseAnd, BitwiseOr, BitwiseXor and BitwiseNot on integers.
#include <type_traits>

#include "ops/elementwise.h"

namespace vitrail {
namespace {
void require_integer(InferContext& ctx) {
  require(is_integer(ctx.in(0).dtype), Code::bad_input, "input 0 is {}, an integer is needed",
          name_of(ctx.in(0).dtype));
}
void infer(InferContext& ctx) {
  require_integer(ctx);
  infer_broadcast(ctx);
}
void infer_not(InferContext& ctx) {
  require_integer(ctx);
  infer_same(ctx);
}
void infer_shift(InferContext& ctx) {
  require_integer(ctx);
  const std::string direction = ctx.attrs.text("direction");
  require(direction == "LEFT" || direction == "RIGHT", Code::bad_input,
          "attribute 'direction' is '{}', expected LEFT or RIGHT", printable(direction));
  infer_broadcast(ctx);
}

// The bits of an integer; the shape rule admits no other type.
template <typename T>
uint64_t bits(T x) {
  return static_cast<uint64_t>(x);
}

// Bits that leave are lost; to the right, signed integers fill with their sign. A distance below 0
// or of the width or more (undefined in C++) leaves the fill alone.
template <typename T>
T shifted(T x, T by, bool left) {
  const int64_t width = 8 * static_cast<int64_t>(sizeof(T));
  const bool outside = by < T{0} || bits(by) >= static_cast<uint64_t>(width);
  if (left) return outside ? T{0} : static_cast<T>(bits(x) << bits(by));
  if (outside) return x < T{0} ? static_cast<T>(-1) : T{0};
  return static_cast<T>(std::is_signed_v<T>
                            ? static_cast<uint64_t>(static_cast<int64_t>(x) >> bits(by))
                            : bits(x) >> bits(by));
}
void bit_shift(RunContext& ctx) {
  const bool left = ctx.attrs.text("direction") == "LEFT";
  map_broadcast(ctx, "BitShift", [&](auto x, auto by) -> decltype(x) {
    // Only integers pass the shape rule.
    if constexpr (std::is_integral_v<decltype(x)> && !std::is_same_v<decltype(x), bool>)
      return shifted(x, by, left);
    else
      return x;
  });
}
void bitwise_and(RunContext& ctx) {
  map_broadcast(ctx, "BitwiseAnd", [](auto a, auto b) { return bits(a) & bits(b); });
}
void bitwise_or(RunContext& ctx) {
  map_broadcast(ctx, "BitwiseOr", [](auto a, auto b) { return bits(a) | bits(b); });
}
void bitwise_xor(RunContext& ctx) {
  map_broadcast(ctx, "BitwiseXor", [](auto a, auto b) { return bits(a) ^ bits(b); });
}
void bitwise_not(RunContext& ctx) {
  map_any(ctx, "BitwiseNot", [](auto x) { return ~bits(x); });
}

std::vector<Sample> shift_samples() {
  const SampleInput x{.dtype = DType::u8, .dims = {3, 5}, .low = 0, .high = 255},
      by{.dtype = DType::u8, .dims = {5}, .low = 0, .high = 9};
  return {{.inputs = {x, by}, .attrs = {{"direction", std::string("LEFT")}}},
          {.inputs = {x, by}, .attrs = {{"direction", std::string("RIGHT")}}},
          {.inputs = {{.dtype = DType::i8, .dims = {9}, .low = -128, .high = 127},
                      {.dtype = DType::i8, .dims = {9}, .low = -2, .high = 9}},
           .attrs = {{"direction", std::string("RIGHT")}}}};
}
std::vector<Sample> samples() {
  const SampleInput x{.dtype = DType::i32, .dims = {3, 5}, .low = -99, .high = 99},
      y{.dtype = DType::i32, .dims = {5}, .low = -99, .high = 99};
  return {{.inputs = {x, y}}};
}
std::vector<Sample> not_samples() {
  return {{.inputs = {{.dtype = DType::i16, .dims = {3, 5}, .low = -99, .high = 99}}}};
}
constexpr Traits kTraits{.elementwise = true, .discontinuous = true};
}  // namespace
extern const OpDef bit_shift_op = binary_op("BitShift", 11, infer_shift, bit_shift, shift_samples,
                                            kTraits, {{"direction", AttrKind::text, true}});
extern const OpDef bitwise_and_op =
    binary_op("BitwiseAnd", 18, infer, bitwise_and, samples, kTraits);
extern const OpDef bitwise_not_op =
    unary_op("BitwiseNot", 18, bitwise_not, not_samples, kTraits, {}, infer_not);
extern const OpDef bitwise_or_op = binary_op("BitwiseOr", 18, infer, bitwise_or, samples, kTraits);
extern const OpDef bitwise_xor_op =
    binary_op("BitwiseXor", 18, infer, bitwise_xor, samples, kTraits);
}  // namespace vitrail
