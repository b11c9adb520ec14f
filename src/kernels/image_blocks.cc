// SPDX-License-Identifier: Apache-2.0
#include "kernels/image_blocks.h"

#include <algorithm>

#include "base/round.h"
#include "kernels/gemm/bind.h"

namespace vitrail {

int64_t asked_extent(const Tactic& tactic, const char* key) {
  const auto found = tactic.find(key);
  return found == tactic.end() ? int64_t{0} : std::max<int64_t>(found->second, 1);
}

int64_t block_rows(int64_t h, int64_t least, int64_t others, int workers) {
  constexpr int64_t kRows = 64;
  const int64_t wanted = workers == 1 ? 1 : ceil_div(4 * workers, others);
  const int64_t rows = std::clamp<int64_t>(ceil_div(h, wanted), std::min(least, kRows), kRows);
  return ceil_div(h, even_count(ceil_div(h, rows), others, workers));
}

std::vector<Tactic> block_tactics(int64_t h, int64_t w, ImageBlock chosen,
                                  const std::vector<ImageBlock>& candidates) {
  std::vector<Tactic> out = {{}};
  for (const ImageBlock& candidate : candidates) {
    const int64_t rows = std::clamp<int64_t>(candidate.rows, 1, h),
                  cols = std::clamp<int64_t>(candidate.cols, 1, w);
    Tactic tactic{{"rows", rows}, {"cols", cols}};
    if ((rows != chosen.rows || cols != chosen.cols) &&
        std::find(out.begin(), out.end(), tactic) == out.end())
      out.push_back(std::move(tactic));
  }
  return out;
}

}  // namespace vitrail
