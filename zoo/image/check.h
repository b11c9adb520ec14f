// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <fmt/core.h>

#include <utility>

#include "vitrail/error.h"

namespace vitrail::image {

/// Throws Error(code, message) unless `condition` holds.
template <typename... Args>
void check(bool condition, Code code, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace vitrail::image
