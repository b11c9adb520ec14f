// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <fmt/core.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace vitrail {

enum class LogLevel : uint8_t { debug, info, warning, error, off };
const char* name_of(LogLevel level);
/// "debug", "info", "warning", "error", "off"; throws Error(usage) listing them for another name.
LogLevel log_level_from_name(std::string_view name);

/// Receives one message without a line end. Calls come one at a time, from any thread.
using LogSink = std::function<void(LogLevel, std::string_view)>;

/// Where messages go from now on; an empty sink brings back the default, standard error. A program
/// that embeds the library sets its own.
void set_log_sink(LogSink sink);
/// Messages below `level` are dropped; at first LogLevel::info.
void set_log_level(LogLevel level);
LogLevel log_level();

/// Hands a finished message to the sink.
void log_text(LogLevel level, std::string_view message);

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (level >= log_level()) log_text(level, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::debug, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::info, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::warning, format, std::forward<Args>(args)...);
}

}  // namespace vitrail
