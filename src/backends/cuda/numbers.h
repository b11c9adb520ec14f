// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "base/error.h"
#include "base/expr.h"

namespace vitrail::cuda {

/// Far from the end of 64 bits, so that products of two stay inside.
constexpr int64_t kMostNumber = int64_t{1} << 40;

/// The numbers of a library's call, checked as they are read: a plan may hold anything.
class Numbers {
 public:
  explicit Numbers(const Bindings& values) : values_(values) {}

  int64_t at(std::string_view name) const {
    const auto found = values_.find(name);
    require(found != values_.end(), Code::bad_input, "a call lacks its number '{}'", name);
    return found->second;
  }
  int64_t get(std::string_view name, int64_t fallback) const {
    const auto found = values_.find(name);
    return found == values_.end() ? fallback : found->second;
  }
  int64_t within(std::string_view name, int64_t low, int64_t high) const {
    const int64_t value = at(name);
    require(low <= value && value <= high, Code::bad_input, "a call has {} = {}, expected {} to {}",
            name, value, low, high);
    return value;
  }
  int64_t extent(std::string_view name) const { return within(name, 1, INT32_MAX); }
  bool flag(std::string_view name) const { return get(name, 0) != 0; }

 private:
  const Bindings& values_;
};

}  // namespace vitrail::cuda
