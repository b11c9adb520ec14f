// SPDX-License-Identifier: Apache-2.0
#include "zoo/weights.h"

#include <cmath>
#include <string_view>

#include "vitrail/error.h"
#include "vitrail/random.h"
#include "vitrail/tensor_file.h"

namespace vitrail::zoo {
namespace {

uint64_t fnv1a(std::string_view text) {
  uint64_t h = 0xCBF29CE484222325ull;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001B3ull;
  return h;
}
// Uniform in [0, 1), exact in float32.
float unit(uint64_t h0, int64_t i) {
  return static_cast<float>(splitmix64(h0, i) >> 40) * 0x1p-24f;
}

// Product and sum are rounded apart; the build forbids their contraction (-ffp-contract=off).
template <typename Rule>
Tensor fill(const std::string& name, const Dims& dims, Rule rule) {
  Tensor out(DType::f32, dims);
  const uint64_t h0 = fnv1a(name);
  float* to = out.mutable_data<float>();
  for (int64_t i = 0; i < out.size(); ++i) to[i] = rule(unit(h0, i));
  return out;
}

std::string text_of(const Dims& dims) {
  std::string out = "[";
  for (size_t i = 0; i < dims.size(); ++i) out += (i ? "," : "") + std::to_string(dims[i]);
  return out + "]";
}

}  // namespace

Tensor deterministic_weight(const std::string& name, const Dims& dims) {
  const auto ends = [&](std::string_view tail) { return std::string_view(name).ends_with(tail); };
  const auto signed_unit = [](float r) { return 2 * r - 1; };
  if (ends("running_var")) return fill(name, dims, [](float r) { return 0.75f + 0.5f * r; });
  if (ends("running_mean")) return fill(name, dims, [&](float r) { return 0.1f * signed_unit(r); });
  if (ends("rescale") || (dims.size() == 1 && ends(".weight")))
    return fill(name, dims, [&](float r) { return 1.0f + 0.1f * signed_unit(r); });
  if (dims.size() == 1) return fill(name, dims, [&](float r) { return 0.05f * signed_unit(r); });
  double fan_in = 1;
  for (size_t i = 1; i < dims.size(); ++i) fan_in *= static_cast<double>(dims[i]);
  const auto scale = static_cast<float>(std::sqrt(3.0 / fan_in));
  return fill(name, dims, [&](float r) { return signed_unit(r) * scale; });
}

Tensor deterministic_input(const Dims& dims, bool in_unit_range) {
  return fill("input", dims, [&](float r) { return in_unit_range ? r : 2 * r - 1; });
}

Weights Weights::deterministic() { return {}; }

Weights Weights::from_file(const std::string& path) {
  Weights out;
  out.path_ = path;
  const NamedTensors tensors = read_tensors(path);
  bool prefixed = !tensors.empty();
  for (const auto& [name, tensor] : tensors) prefixed &= name.starts_with("module.");
  for (const auto& [name, tensor] : tensors)
    out.tensors_.emplace(prefixed ? name.substr(7) : name, tensor);
  return out;
}

Tensor Weights::get(const std::string& name, const Dims& dims) const {
  if (is_deterministic()) return deterministic_weight(name, dims);
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    throw Error(Code::bad_input, "'" + path_ + "' has no parameter '" + name + "' " +
                                     text_of(dims) + "; is it a checkpoint of this model?");
  const Tensor& t = found->second;
  if (t.dims() != dims)
    throw Error(Code::bad_input, "'" + path_ + "': parameter '" + name + "' has shape " +
                                     text_of(t.dims()) + ", the model needs " + text_of(dims));
  read_.insert(name);
  return t.cast(DType::f32);
}

void Weights::require_all_read() const {
  constexpr size_t kShown = 5;
  std::string list;
  size_t unknown = 0;
  for (const auto& [name, tensor] : tensors_) {
    if (read_.contains(name) || name.ends_with("num_batches_tracked")) continue;
    if (++unknown <= kShown)
      list += (list.empty() ? "'" : ", '") + printable(name) + "' " + text_of(tensor.dims());
  }
  if (unknown == 0) return;
  if (unknown > kShown) list += " and " + std::to_string(unknown - kShown) + " more";
  throw Error(Code::bad_input, "'" + path_ + "' has parameters that the model does not know: " +
                                   list + "; is it a checkpoint of this model?");
}

}  // namespace vitrail::zoo
