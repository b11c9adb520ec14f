// SPDX-License-Identifier: Apache-2.0
#include "ops/op.h"

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

constexpr const char* kKindNames[] = {"an integer", "a number", "a text", "integers", "numbers", "texts", "a tensor"};

template <typename T>
const T& get(const AttrValue& value, std::string_view name, AttrKind kind) {
  const T* found = std::get_if<T>(&value);
  require(found != nullptr, Code::bad_input, "attribute '{}': expected {}, found {}",
          printable(std::string(name)), kKindNames[static_cast<int>(kind)], kKindNames[value.index()]);
  return *found;
}
}  // namespace

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
std::vector<int64_t> Attrs::integers(std::string_view name, std::optional<std::vector<int64_t>> fallback) const {
  if (fallback && !has(name)) return *fallback;
  return get<std::vector<int64_t>>(at(name), name, AttrKind::integers);
}
std::vector<double> Attrs::numbers(std::string_view name, std::optional<std::vector<double>> fallback) const {
  if (fallback && !has(name)) return *fallback;
  return get<std::vector<double>>(at(name), name, AttrKind::numbers);
}
const Tensor& Attrs::tensor(std::string_view name) const { return get<Tensor>(at(name), name, AttrKind::tensor); }

bool Attrs::operator==(const Attrs& other) const {
  if (map_.size() != other.map_.size()) return false;
  for (auto a = map_.begin(), b = other.map_.begin(); a != map_.end(); ++a, ++b) {
    if (a->first != b->first || a->second.index() != b->second.index()) return false;
    const bool equal = std::visit(
        [&](const auto& x) {
          using T = std::decay_t<decltype(x)>;
          const T& y = std::get<T>(b->second);
          if constexpr (std::is_same_v<T, Tensor>) return x.same(y);
          else return x == y;
        },
        a->second);
    if (!equal) return false;
  }
  return true;
}

std::optional<std::vector<Expr>> ValueInfo::ints() const {
  if (content) return content;
  constexpr int64_t kLargest = 4096;  // contents are for shapes, not for index tables
  if (!constant || !is_integer(constant->dtype()) || constant->rank() > 1 || constant->size() > kLargest) return {};
  std::vector<Expr> out;
  for (int64_t i = 0; i < constant->size(); ++i) out.emplace_back(constant->int_at(i));
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
  const auto found = index->find(std::string(domain == "ai.onnx" ? "" : domain) + ":" + std::string(name));
  return found == index->end() ? nullptr : found->second;
}

}  // namespace vitrail
