// SPDX-License-Identifier: Apache-2.0
// Depthwise windows on tensor cores: one tap is the product of 16 pixels by 8 channels with a diagonal matrix, two
// taps are one m16n8k16. Seven eighths of the products are with zeros, and still a tap of 16 x 16 elements takes
// two instructions instead of sixteen, as what would be conversions, loads and fused multiply-adds.
//
// Taps go in pairs that one ldmatrix fetches for eight channels, its lanes from 16 on a step further: neighbours in
// a row first, then those left over at the rows' ends, two rows together. Weights come packed in that order by
// pack_window() (mma_tiles.h): for eight channels, lane % 4 holds its pair of channels of each tap.
//
// KW taps a row, pixels of a row HX apart, RowBytes a pixel.
template <class T, int KH, int KW, int HX, int RowBytes> struct Window {
  static constexpr int kTaps = KH * KW, kPadded = (kTaps + 3) / 4 * 4;
  static constexpr int kBytes = 4 * kPadded * 4;  // of the weights of eight channels
  static constexpr int kAcross = KW / 2, kPairsAcross = KH * kAcross, kPairsDown = KW % 2 * (KH / 2), kPairs = kPairsAcross + kPairsDown;
  u32 diagonal[2][kTaps];

  // `from`: the weights of 16 channels in shared memory.
  __device__ __forceinline__ void load(const char* from) {
    const int lane = threadIdx.x % 32;
    const u32 mask = lane / 4 == lane % 4 * 2 ? 0x0000ffffu : lane / 4 == lane % 4 * 2 + 1 ? 0xffff0000u : 0u;
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int t = 0; t < kPadded; t += 4) {
        const uint4 pairs = *reinterpret_cast<const uint4*>(from + n * kBytes + (lane % 4 * kPadded + t) * 4);
        diagonal[n][t] = pairs.x & mask;
        if (t + 1 < kTaps) diagonal[n][t + 1] = pairs.y & mask;
        if (t + 2 < kTaps) diagonal[n][t + 2] = pairs.z & mask;
        if (t + 3 < kTaps) diagonal[n][t + 3] = pairs.w & mask;
      }
  }
  // The windows of 16 pixels, 16 channels, added to `bias`. `base`: shared address of pixel lane % 16's first tap.
  // Channels of acc[n] are those of an mma's columns.
  __device__ __forceinline__ void run(float (&acc)[2][4], const float (&bias)[2][4], u32 base) const {
    const int upper = threadIdx.x % 32 / 16;
    const u32 across = base + upper * RowBytes, down = base + upper * HX * RowBytes;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int tap = i < kPairsAcross ? i / (kAcross ? kAcross : 1) * HX + i % (kAcross ? kAcross : 1) * 2 : (i - kPairsAcross) * 2 * HX + KW - 1;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        u32 both[4];
        vt_ldmatrix4(both, (i < kPairsAcross ? across : down) + tap * RowBytes + n * 16);
        if (i == 0) vt_mma_from<T>(acc[n], both, diagonal[n][0], diagonal[n][1], bias[n]);
        else vt_mma<T>(acc[n], both, diagonal[n][2 * i], diagonal[n][2 * i + 1]);
      }
    }
    if (kTaps % 2 != 0) {
      if (kPairs == 0)
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) acc[n][e] = bias[n][e];
      u32 last[4];
      vt_ldmatrix4(last, base + upper * 16 + ((KH - 1) * HX + KW - 1) * RowBytes);
#pragma unroll
      for (int n = 0; n < 2; ++n) vt_mma8<T>(acc[n], last[2 * n], last[2 * n + 1], diagonal[n][kTaps - 1]);
    }
  }
};

// The same for 3 x 3 windows of two tiles of 16 pixels, one a row of the image below the other: of the four rows that
// they cover each is read once. Neighbours in a row are pairs that both tiles use; of the columns at the rows' ends rows
// 0 and 1 are a pair, whose second half alone is the lower tile's first tap, and rows 2 and 3, whose first half alone
// is the upper tile's last one.
template <class T, int HX, int RowBytes> struct WindowPair {
  typedef Window<T, 3, 3, HX, RowBytes> One;
  One one;

  __device__ __forceinline__ void load(const char* from) { one.load(from); }
  // `base`: shared address of pixel lane % 16's first tap in the upper tile.
  __device__ __forceinline__ void run(float (&acc)[2][2][4], const float (&bias)[2][4], u32 base) const {
    const int upper = threadIdx.x % 32 / 16;
    const u32 across = base + upper * RowBytes, down = base + upper * HX * RowBytes + 2 * RowBytes;
#pragma unroll
    for (int row = 0; row < 4; ++row)
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const u32(&taps)[One::kTaps] = one.diagonal[n];
        u32 both[4];
        vt_ldmatrix4(both, across + row * HX * RowBytes + n * 16);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int r = row - i;
          if (r == 0) vt_mma_from<T>(acc[i][n], both, taps[0], taps[1], bias[n]);
          else if (r > 0 && r < 3) vt_mma<T>(acc[i][n], both, taps[2 * r], taps[2 * r + 1]);
        }
      }
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const u32(&taps)[One::kTaps] = one.diagonal[n];
      u32 both[4];
      vt_ldmatrix4(both, down + n * 16);
      vt_mma<T>(acc[0][n], both, taps[6], taps[7]);
      vt_mma8<T>(acc[1][n], both[2], both[3], taps[6]);
      vt_ldmatrix4(both, down + 2 * HX * RowBytes + n * 16);
      vt_mma8<T>(acc[0][n], both[0], both[1], taps[8]);
      vt_mma<T>(acc[1][n], both, taps[7], taps[8]);
    }
  }
};

// Biases of 16 channels from `first` on, as an mma's columns want them.
template <typename B> __device__ __forceinline__ void vt_column_bias(const B* from, int first, int channels, float (&bias)[2][4]) {
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int col = first + n * 8 + threadIdx.x % 4 * 2 + e;
      bias[n][e] = bias[n][e + 2] = col < channels ? vt_float(from[col]) : 0.0f;
    }
}
