// SPDX-License-Identifier: Apache-2.0
#include "ops/op.h"

#include <cmath>
#include <iterator>
#include <unordered_map>

namespace vitrail {

#define VITRAIL_OP(id) extern const OpDef id##_op;
#include "ops/op_list.inc"
#undef VITRAIL_OP

namespace {
const OpDef* const kOps[] = {
#define VITRAIL_OP(id) &id##_op,
#include "ops/op_list.inc"
#undef VITRAIL_OP
};

constexpr const char* kKindNames[] = {"an integer", "a number", "a text",  "integers",
                                      "numbers",    "texts",    "a tensor"};

template <typename T>
const T& get(const AttrValue& value, std::string_view name, AttrKind kind) {
  const T* found = std::get_if<T>(&value);
  require(found != nullptr, Code::bad_input, "attribute '{}': expected {}, found {}",
          printable(std::string(name)), kKindNames[static_cast<int>(kind)],
          kKindNames[value.index()]);
  return *found;
}

struct OnnxType {
  int64_t number;
  DType dtype;
};
// onnx.proto, TensorProto.DataType.
constexpr OnnxType kOnnxTypes[] = {
    {1, DType::f32},  {2, DType::u8},   {3, DType::i8},     {4, DType::u16},     {5, DType::i16},
    {6, DType::i32},  {7, DType::i64},  {8, DType::string}, {9, DType::boolean}, {10, DType::f16},
    {11, DType::f64}, {12, DType::u32}, {13, DType::u64},   {16, DType::bf16}};
static_assert(std::size(kOnnxTypes) == kDTypeCount);
}  // namespace

DType dtype_of_onnx_number(int64_t number) {
  for (const OnnxType& row : kOnnxTypes)
    if (row.number == number) return row.dtype;
  fail(Code::unsupported, "element type number {} of ONNX", number);
}
int64_t onnx_number_of(DType dtype) {
  for (const OnnxType& row : kOnnxTypes)
    if (row.dtype == dtype) return row.number;
  fail(Code::internal, "element type without an ONNX number");
}

const AttrValue& Attrs::at(std::string_view name) const {
  const auto found = map_.find(name);
  require(found != map_.end(), Code::bad_input, "attribute '{}' is missing", name);
  return found->second;
}
int64_t Attrs::integer(std::string_view name, std::optional<int64_t> fallback) const {
  if (fallback && !has(name)) return *fallback;
  return get<int64_t>(at(name), name, AttrKind::integer);
}
double Attrs::number(std::string_view name, std::optional<double> fallback) const {
  if (fallback && !has(name)) return *fallback;
  return get<double>(at(name), name, AttrKind::number);
}
std::string Attrs::text(std::string_view name, std::optional<std::string> fallback) const {
  if (fallback && !has(name)) return *fallback;
  return get<std::string>(at(name), name, AttrKind::text);
}
std::vector<int64_t> Attrs::integers(std::string_view name,
                                     std::optional<std::vector<int64_t>> fallback) const {
  if (fallback && !has(name)) return *fallback;
  return get<std::vector<int64_t>>(at(name), name, AttrKind::integers);
}
std::vector<double> Attrs::numbers(std::string_view name,
                                   std::optional<std::vector<double>> fallback) const {
  if (fallback && !has(name)) return *fallback;
  return get<std::vector<double>>(at(name), name, AttrKind::numbers);
}
const Tensor& Attrs::tensor(std::string_view name) const {
  return get<Tensor>(at(name), name, AttrKind::tensor);
}

bool Attrs::operator==(const Attrs& other) const {
  if (map_.size() != other.map_.size()) return false;
  for (auto a = map_.begin(), b = other.map_.begin(); a != map_.end(); ++a, ++b) {
    if (a->first != b->first || a->second.index() != b->second.index()) return false;
    const bool equal = std::visit(
        [&](const auto& x) {
          using T = std::decay_t<decltype(x)>;
          const T& y = std::get<T>(b->second);
          if constexpr (std::is_same_v<T, Tensor>)
            return x.same(y);
          else
            return x == y;
        },
        a->second);
    if (!equal) return false;
  }
  return true;
}

std::optional<std::vector<Expr>> ValueInfo::ints() const {
  if (content) return content;
  constexpr int64_t kLargest = 4096;  // contents are for shapes, not for index tables
  if (!constant || constant->size() > kLargest) return {};
  std::vector<Expr> out;
  if (is_float(constant->dtype())) {
    constexpr double kExact = 0x1p53;
    for (int64_t i = 0; i < constant->size(); ++i) {
      const double value = constant->number_at(i);
      if (!(std::fabs(value) < kExact) || value != std::floor(value)) return {};
      out.emplace_back(static_cast<int64_t>(value));
    }
  } else if (constant->dtype() != DType::string) {
    for (int64_t i = 0; i < constant->size(); ++i) out.emplace_back(constant->int_at(i));
  } else {
    return {};
  }
  return out;
}

const ValueInfo& InferContext::in(size_t i) const {
  require(has(i), Code::bad_input, "input {} is missing", i);
  return *inputs[i];
}
const Tensor& RunContext::in(size_t i) const {
  require(has(i), Code::bad_input, "input {} is missing", i);
  return *inputs[i];
}

std::span<const OpDef* const> all_ops() { return kOps; }

const OpDef* find_op(std::string_view domain, std::string_view name) {
  static const auto* const index = [] {
    auto* map = new std::unordered_map<std::string, const OpDef*>;
    for (const OpDef* op : kOps) (*map)[std::string(op->domain) + ":" + op->name] = op;
    return map;
  }();
  const auto found =
      index->find(std::string(domain == "ai.onnx" ? "" : domain) + ":" + std::string(name));
  return found == index->end() ? nullptr : found->second;
}

}  // namespace vitrail
