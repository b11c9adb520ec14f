// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kernels/cuda/text.h"

namespace vitrail {

/// Adds struct Rows (gemm_mma.cuh) for rows of A with k stride 1, read in steps of `bk` elements,
/// `va` of them in one copy.
inline void add_gemm_rows(cuda::SourceText& text, const Operand& a, int bk, int va) {
  const int64_t k = a.dims.back().constant();
  text.add(fmt::format(
      R"(struct Rows {{
  struct Row {{ const {0}* p; bool valid; }};
  struct Tap {{ int k, count; }};
  static __device__ __forceinline__ Row row(const Args& a, int m, bool valid) {{ return {{a.in0 + {1}, valid}}; }}
  static __device__ __forceinline__ Tap tap(const Args&, int k) {{ return {{k, {2}}}; }}
  static __device__ __forceinline__ const {0}* at(const Args&, const Row& row, const Tap& tap, int& count) {{
    count = row.valid && tap.count > 0 ? tap.count : 0;
    return row.p + {3};
  }}
}};
)",
      cuda::c_type(a.dtype), text.row_offset(a, "m"),
      // Whole steps of whole copies end where k does.
      k % bk == 0 ? std::to_string(va) : fmt::format("{0} - k < {1} ? {0} - k : {1}", k, va),
      k % bk == 0 ? "tap.k" : "(count ? tap.k : 0)"));
}

}  // namespace vitrail
