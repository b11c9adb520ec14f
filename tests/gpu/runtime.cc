// SPDX-License-Identifier: Apache-2.0
//   vitrail_gpu_runtime blame
//   vitrail_gpu_runtime memory|sessions PLAN
//   vitrail_gpu_runtime lost PLAN BROKEN trap|address
#include "tests/gpu/runtime.h"

#include <fmt/core.h>

#include <vector>

#include "vitrail/error.h"

int main(int count, char** words) {
  const std::vector<std::string> said(words + 1, words + count);
  const std::string what = said.empty() ? "" : said[0];
  try {
    if (what == "blame" && said.size() == 1) return vitrail::check_blame();
    if (what == "memory" && said.size() == 2) return vitrail::check_memory(said[1]);
    if (what == "sessions" && said.size() == 2) return vitrail::check_sessions(said[1]);
    if (what == "lost" && said.size() == 4 && (said[3] == "trap" || said[3] == "address"))
      return vitrail::check_lost(said[1], said[2], said[3]);
  } catch (const vitrail::Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return static_cast<int>(e.code);
  }
  fmt::print(
      stderr,
      "usage: vitrail_gpu_runtime blame, memory|sessions PLAN, or lost PLAN BROKEN trap|address\n");
  return 2;
}
