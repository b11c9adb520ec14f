// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <mutex>

#include "base/error.h"
#include "base/progress.h"

namespace vitrail {
namespace {
constexpr LogLevel kLevels[] = {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error,
                                LogLevel::off};
std::atomic<LogLevel> threshold{LogLevel::info};

struct Sink {
  std::mutex mutex;
  LogSink call;
};
Sink& sink() {
  static Sink* const instance =
      new Sink;  // never destroyed: threads may log while the process ends
  return *instance;
}

void write_to_stderr(LogLevel level, std::string_view message) {
  // Information is what the user asked for and stands bare; the rest says what it is.
  const std::string prefix = level == LogLevel::info ? "" : fmt::format("{}: ", name_of(level));
  write_above_progress(fmt::format("{}{}\n", prefix, message));
}
}  // namespace

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
    case LogLevel::off:
      return "off";
  }
  return "unknown";
}

LogLevel log_level_from_name(std::string_view name) {
  for (LogLevel level : kLevels)
    if (name == name_of(level)) return level;
  fail(Code::usage, "log level '{}': expected debug, info, warning, error or off",
       printable(std::string(name)));
}

void set_log_sink(LogSink call) {
  const std::lock_guard lock(sink().mutex);
  sink().call = std::move(call);
}
void set_log_level(LogLevel level) { threshold = level; }
LogLevel log_level() { return threshold; }

void log_text(LogLevel level, std::string_view message) {
  if (level < threshold) return;
  const std::lock_guard lock(sink().mutex);
  if (sink().call)
    sink().call(level, message);
  else
    write_to_stderr(level, message);
}

}  // namespace vitrail
