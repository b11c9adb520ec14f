// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "base/machine.h"
#include "base/problem.h"

namespace vitrail {

/// A kernel with a tactic, as tried for one problem.
struct TimedCandidate {
  std::string kernel;
  Tactic tactic;            ///< empty: the kernel's own
  double microseconds = 0;  ///< median over the rounds; 0: it did not run there
  bool operator==(const TimedCandidate&) const = default;
};

/// What timing one problem at fixed extents came to.
struct Timing {
  std::vector<TimedCandidate> candidates;  ///< the heuristic one first
  size_t winner = 0;
  std::string unstable;  ///< why a faster candidate was not trusted; empty: nothing to tell
  bool operator==(const Timing&) const = default;
};

/// What timings depend on besides the problem: processor, level, caches, workers, kernels.
std::string timing_key(const Machine& machine, int workers);

/// Timings by problem text, kept over builds in a JSON file that any number of builds may use at
/// once. A cache is never needed: a damaged file, or one that cannot be written, is a warning.
class TimingCache {
 public:
  /// `path` empty: in memory only. Throws Error(io) when the file's folder does not exist, and
  /// Error(usage) when the path is a folder.
  TimingCache(std::string path, std::string key);

  const Timing* find(const std::string& problem) const;
  void add(const std::string& problem, Timing timing);
  /// Merges what was added into the file, under a lock, written under a temporary name and renamed.
  void save();

 private:
  using Entries = std::map<std::string, Timing>;
  std::map<std::string, Entries> read() const;
  std::string path_, key_;
  Entries entries_, added_;
};

}  // namespace vitrail
