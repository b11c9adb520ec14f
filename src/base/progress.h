// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

namespace vitrail {

/// As total of a stretch whose steps are thousandths of the whole: shown in percent.
inline constexpr int64_t kShare = 1000;

/// Told by whatever takes long how far it is. Calls may come from several threads.
class Progress {
 public:
  virtual ~Progress() = default;
  /// A stretch of work of `total` steps (0: unknown) starts; an unfinished one before it ends.
  virtual void begin(std::string_view label, int64_t total) = 0;
  /// `steps` more are done; `detail` names the current one.
  virtual void advance(int64_t steps = 1, std::string_view detail = {}) = 0;
  virtual void end() = 0;
};

/// Shows nothing.
Progress& no_progress();

/// A bar on a terminal, otherwise (a log, TERM=dumb) a line at most every few seconds and one at
/// the end. NO_COLOR turns colours off.
std::unique_ptr<Progress> make_progress(std::FILE* out = stderr);

/// One stretch of work: ends when it goes out of scope, also through an exception.
class ProgressScope {
 public:
  ProgressScope(Progress& progress, std::string_view label, int64_t total) : progress_(progress) {
    progress_.begin(label, total);
  }
  ~ProgressScope() { progress_.end(); }
  ProgressScope(const ProgressScope&) = delete;
  ProgressScope& operator=(const ProgressScope&) = delete;
  void advance(int64_t steps = 1, std::string_view detail = {}) {
    progress_.advance(steps, detail);
  }

 private:
  Progress& progress_;
};

/// Writes to standard error, over a bar that may stand there; the bar is drawn again below.
void write_above_progress(const std::string& text);

}  // namespace vitrail
