// SPDX-License-Identifier: Apache-2.0
// Positional in a second form that reads and issues less: tiles of 16 pixels lie in rows, two of them one below the
// other wherever that divides over the warps, and share the rows that both their windows cover; pixels outside the
// image are overwritten with zeros where a block has any; biases are on their way while v is made.
//
// Around the result lie TY + 2 rows of TX + 2 pixels: tiles of the first TX columns, then the last two columns,
// eight rows a tile.
template <class Cfg> struct PositionalPair {
  typedef Positional<Cfg> Base;
  typedef typename Cfg::T T;
  static constexpr int EC = Base::EC, CP = Base::CP, X1 = Base::X1, X2 = Base::X2, kRowX = Base::kRowX, kRowE = Base::kRowE, kPitch = Base::kPitch;
  static constexpr int kStep = Base::kStep, kGroups = Base::kGroups, kChunks = Base::kChunks, kThreads = Base::kThreads, TP = Base::TP, kWeights = Base::kWeights;
  static constexpr int kAcross = Cfg::TX / 16, kRows1 = Cfg::TY + 2;
  // Pairs of tiles that each warp has alike, and the tiles left over.
  static constexpr int kPairs1 = kRows1 / 2 * kAcross / kStep * kStep, kPairs2 = Cfg::TY / 2 * kAcross / kStep * kStep;
  static constexpr int kSingle1 = kRows1 * kAcross - 2 * kPairs1, kSingle2 = Cfg::TY * kAcross - 2 * kPairs2, kColumns = (kRows1 * 2 + 15) / 16;
  static_assert(Cfg::TX % 16 == 0 && Cfg::TY % 2 == 0, "");
  typedef WindowPair<T, X2, kRowE> First;
  typedef WindowPair<T, X1, kRowE> Second;

  // Where a tile's pixel 0 lies: tile i of a pair, and single tiles behind all pairs.
  struct Spot { int y, x; };
  static __device__ __forceinline__ Spot of_pair(int pair, int i) { return {pair / kAcross * 2 + i, pair % kAcross * 16}; }
  template <int Pairs> static __device__ __forceinline__ Spot of_single(int single) { return of_pair(Pairs + single % (2 * kAcross) % kAcross + single / (2 * kAcross) * kAcross, single % (2 * kAcross) / kAcross); }

  // Base::load_pixels() where every thread keeps to its channels, so that places follow from one another.
  static __device__ __forceinline__ void load_pixels(const Args& a, int image, int top, int left, u32 to) {
    constexpr int kCols = CP / Cfg::VX, kPass = kThreads / kCols, HP2 = Base::HP2;
    if constexpr (kThreads % kCols != 0) {
      Base::load_pixels(a, image, top, left, to);
    } else {
      const int p = threadIdx.x / kCols, c = threadIdx.x % kCols * Cfg::VX, rest = Cfg::C - c, count = rest < Cfg::VX ? rest : Cfg::VX;
      int y = top + p / X2, x = left + p % X2;
#pragma unroll
      for (int first = 0; first < HP2; first += kPass) {
        if (first + kPass > HP2 && first + p >= HP2) break;
        const bool inside = rest > 0 && (first + kPass <= Base::P2 || first + p < Base::P2) && !outside(a, y, x);
        Base::template copy<Cfg::VX>(to + (first + p) * kRowX + c * 2, inside ? Cfg::pixel(a, image, y, x) + c : a.in0, inside ? count : 0);
        x += kPass % X2, y += kPass / X2;
        if (x >= left + X2) x -= X2, ++y;
      }
    }
  }

  static __device__ __forceinline__ bool outside(const Args& a, int y, int x) { return (unsigned)y >= (unsigned)Cfg::H(a) || (unsigned)x >= (unsigned)Cfg::W(a); }

  // N tiles of the middle, activated: rows lane / 4 + 8 half of tile u lie at `at[2 u + half]` where they are `real`.
  template <int N> static __device__ __forceinline__ void keep(const Args& a, const float (&sum)[N][2][4], float gelu, bool whole, const Spot (&at)[2 * N], const bool (&real)[2 * N], int oy, int ox, u32 to) {
    u32 row[2 * N];
#pragma unroll
    for (int r = 0; r < 2 * N; ++r) {
      row[r] = to + (at[r].y * X1 + at[r].x) * kRowE;
      u32 bits[2];
#pragma unroll
      for (int n = 0; n < 2; ++n) bits[n] = vt_pack<T>(Cfg::activate(sum[r / 2][n][r % 2 * 2], gelu), Cfg::activate(sum[r / 2][n][r % 2 * 2 + 1], gelu));
      if (real[r]) Base::store(row[r], bits[0]), Base::store(row[r] + 16, bits[1]);
    }
    if (whole) return;
#pragma unroll
    for (int r = 0; r < 2 * N; ++r)
      if (real[r] && outside(a, oy - 1 + at[r].y, ox - 1 + at[r].x)) Base::store(row[r], 0u), Base::store(row[r] + 16, 0u);
  }
  // `v`, `to`: this warp's 16 channels of pixel 0 of v, this lane's of the middle.
  static __device__ __forceinline__ void middle(const Args& a, const First& taps, const float (&bias)[2][4], bool whole, int first, int oy, int ox, u32 v, u32 to) {
    const int lane = threadIdx.x % 32;
    const float gelu = Cfg::gelu();
#pragma unroll 1
    for (int pair = first; pair < kPairs1; pair += kStep) {
      const Spot top = of_pair(pair, 0);
      float sum[2][2][4];
      taps.run(sum, bias, v + (top.y * X2 + top.x + lane % 16) * kRowE);
      const int x = top.x + lane / 4;
      keep<2>(a, sum, gelu, whole, {{top.y, x}, {top.y, x + 8}, {top.y + 1, x}, {top.y + 1, x + 8}}, {true, true, true, true}, oy, ox, to);
    }
#pragma unroll 1
    for (int single = first; single < kSingle1 + kColumns; single += kStep) {
      const bool columns = single >= kSingle1;
      const Spot row = of_single<kPairs1>(columns ? 0 : single);
      const auto spot = [&](int i) {
        const int p = (single - kSingle1) * 16 + i, y = p / 2 < kRows1 ? p / 2 : kRows1 - 1;
        return columns ? Spot{y, Cfg::TX + p % 2} : Spot{row.y, row.x + i};
      };
      const auto real = [&](int i) { return !columns || (single - kSingle1) * 16 + i < kRows1 * 2; };
      const Spot from = spot(lane % 16);
      float sum[1][2][4];
      taps.one.run(sum[0], bias, v + (from.y * X2 + from.x) * kRowE);
      keep<1>(a, sum, gelu, whole, {spot(lane / 4), spot(lane / 4 + 8)}, {real(lane / 4), real(lane / 4 + 8)}, oy, ox, to);
    }
  }

  // x M onto the windows of N tiles, and these to the result. `x`: shared address of pixel 0 of x, `to` this lane's
  // place in pixel 0 of the result.
  template <int N> static __device__ __forceinline__ void mix(float (&sum)[N][2][4], const Spot (&at)[N], u32 x, u32 matrix, float* to) {
    const int lane = threadIdx.x % 32;
    u32 from[N];
#pragma unroll
    for (int u = 0; u < N; ++u) from[u] = x + ((at[u].y + 2) * X2 + at[u].x + lane % 16 + 2) * kRowX + lane / 16 * 16;
#pragma unroll
    for (int k = 0; k < CP / 16; ++k) {
      u32 fb[4];
      vt_ldmatrix4_transposed(fb, matrix + k * 16 * kRowE);
#pragma unroll
      for (int u = 0; u < N; ++u) {
        u32 fa[4];
        vt_ldmatrix4(fa, from[u] + k * 32);
        vt_mma<T>(sum[u][0], fa, fb[0], fb[1]);
        vt_mma<T>(sum[u][1], fa, fb[2], fb[3]);
      }
    }
#pragma unroll
    for (int u = 0; u < N; ++u)
#pragma unroll
      for (int f = 0; f < 4; ++f)
        *reinterpret_cast<float2*>(to + (at[u].y * Cfg::TX + at[u].x + f / 2 * 8) * kPitch + f % 2 * 8) = make_float2(sum[u][f % 2][f / 2 * 2], sum[u][f % 2][f / 2 * 2 + 1]);
  }
  static __device__ __forceinline__ void result(const Second& taps, const float (&bias)[2][4], int first, u32 middle, u32 x, u32 matrix, float* to) {
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int pair = first; pair < kPairs2; pair += kStep) {
      const Spot top = of_pair(pair, 0);
      float sum[2][2][4];
      taps.run(sum, bias, middle + (top.y * X1 + top.x + lane % 16) * kRowE);
      mix<2>(sum, {top, {top.y + 1, top.x}}, x, matrix, to);
    }
#pragma unroll 1
    for (int single = first; single < kSingle2; single += kStep) {
      const Spot at = of_single<kPairs2>(single);
      float sum[1][2][4];
      taps.one.run(sum[0], bias, middle + (at.y * X1 + at.x + lane % 16) * kRowE);
      mix<1>(sum, {at}, x, matrix, to);
    }
  }

  static __device__ __forceinline__ void run(const Args& a) {
    extern __shared__ __align__(128) char memory[];
    char *const v = memory + Base::kBytesX, *const weights = v + Base::kBytesV + Base::kBytesM;
    const u32 x_at = vt_shared(memory), v_at = x_at + Base::kBytesX, m_at = v_at + Base::kBytesV, w_at = m_at + Base::kBytesM;
    vt_trigger();
    const int across = (Cfg::W(a) + Cfg::TX - 1) / Cfg::TX, down = (Cfg::H(a) + Cfg::TY - 1) / Cfg::TY;
    const int ox = (int)blockIdx.x % across * Cfg::TX, oy = (int)blockIdx.x / across % down * Cfg::TY, image = (int)blockIdx.x / (across * down);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n0 = warp % kGroups * 16, first = warp / kGroups;
    const bool whole = oy > 0 && ox > 0 && oy + Cfg::TY < Cfg::H(a) && ox + Cfg::TX < Cfg::W(a);
    Base::load_constants(a, 0, w_at);
    vt_wait();
    Base::load_matrix(a, image, 0, w_at + Base::kMatrix);
    load_pixels(a, image, oy - 2, ox - 2, x_at);
    vt_commit();
#pragma unroll 1
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int e0 = chunk * EC, mine = chunk % 2 * kWeights;
      float bias1[2][4], bias2[2][4];
      vt_column_bias(a.in3, e0 + n0, Cfg::E, bias1);
      vt_column_bias(a.in5, e0 + n0, Cfg::E, bias2);
      vt_wait_copies<0>();
      __syncthreads();
      if (chunk + 1 < kChunks) {
        const u32 next = w_at + (chunk + 1) % 2 * kWeights;
        Base::load_constants(a, e0 + EC, next);
        Base::load_matrix(a, image, e0 + EC, next + Base::kMatrix);
        vt_commit();
      }
      Base::product(x_at, w_at + mine, v_at, first, n0);
      __syncthreads();
      {
        First taps;
        taps.load(weights + mine + 2 * Base::kMatrix + n0 / 8 * Base::First::kBytes);
        middle(a, taps, bias1, whole, first, oy, ox, v_at + n0 * 2, m_at + (n0 + lane % 4 * 2) * 2);
      }
      __syncthreads();
      {
        Second taps;
        taps.load(weights + mine + 2 * Base::kMatrix + Base::kTaps + n0 / 8 * Base::Second::kBytes);
        // v is read no more: the result takes its place.
        result(taps, bias2, first, m_at + n0 * 2, x_at, w_at + mine + Base::kMatrix + lane % 16 * kRowE + (n0 + lane / 16 * 8) * 2,
               reinterpret_cast<float*>(v) + lane / 4 * kPitch + n0 + lane % 4 * 2);
      }
      __syncthreads();
      vt_finish_tile<Tail, Cfg::TY, Cfg::TX, EC, kPitch, Cfg::E, kThreads>(a, reinterpret_cast<const float*>(v), image, oy, ox, Cfg::H(a), Cfg::W(a), e0);
    }
  }
};
