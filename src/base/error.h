// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <fmt/core.h>

#include <string>
#include <utility>

#include "vitrail/error.h"

namespace vitrail {

template <typename... Args>
[[noreturn]] void fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error(code, message) unless `condition` holds.
template <typename... Args>
void require(bool condition, Code code, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Runs `action`; an Error thrown inside gets `context` in front ("node 'conv1' (Conv): ...").
template <typename Action>
auto with_context(const std::string& context, Action&& action) {
  try {
    return action();
  } catch (const Error& error) {
    throw Error(error.code, context + ": " + error.what());
  }
}

}  // namespace vitrail
