// SPDX-License-Identifier: Apache-2.0
// C = epilogue(A B) by blocks that last (wgmma; Gemm's Cfg with CONSTANT columns, WM 4, WN 1). One group
// of four warps copies, without pause over a tile's end: the stages of all tiles of the block are one
// stream through a ring. Two groups multiply. TURNS 2: each takes every other tile, 64 rows at a time, and
// begins when the other's last product is issued, so that the end of one tile runs beside the products of
// the next. TURNS 1: each takes half the rows of every tile. Block b has the tiles b, b + BLOCKS, ..
// Generated vt_copier_registers and vt_multiplier_registers divide the block's registers.
//
// Stage q of the stream lies in slot q % STAGES. filled[slot] counts the copying threads, each after its own
// copies have arrived and are fenced for the tensor cores; freed[slot] counts the warps that have read it.
// A group frees a stage when the products of the next one are under way, so that one must be announced
// without the slot: kBehind, the copies that may be under way when a stage is announced, is at most
// STAGES - 2. K is summed in order: the result does not depend on timing.

__device__ __forceinline__ void vt_barrier_make(u32 at, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(count) : "memory");
}
__device__ __forceinline__ void vt_barrier_arrive(u32 at) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(at) : "memory");
}
// Until the phase of this parity has ended; phases have parities 0, 1, 0, ..
__device__ __forceinline__ void vt_barrier_wait(u32 at, u32 parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra over;\nbra again;\nover:\n}"
      ::"r"(at), "r"(parity) : "memory");
}
__device__ __forceinline__ void vt_wide_wait_last() { asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory"); }

template <class Cfg> struct GemmTurns {
  struct Rows64 : Cfg {
    static constexpr int BM = 64;
  };
  typedef Gemm<Cfg> Whole;    // copies of a stage, by one group
  typedef Gemm<Rows64> Part;  // products and end of 64 rows, by one group
  static_assert(Cfg::WIDE && Cfg::CONSTANT && Cfg::SPLIT == 1 && Cfg::WM == 4 && Cfg::WN == 1 && Part::kDirect, "");
  static constexpr int BM = Cfg::BM, BN = Cfg::BN, BK = Cfg::BK, S = Cfg::STAGES, kGroup = 128, kBytesA = Whole::kBytesA,
                       kStage = Whole::kStage, kTilesN = (Cfg::N + BN - 1) / BN, kSteps = (Cfg::K + BK - 1) / BK,
                       kParts = BM / 64 * Cfg::TURNS / 2, kBehind = (S - 2) / 2, kAhead = kSteps < S ? kSteps : S;
  static_assert(BM == kParts * 128 / Cfg::TURNS && S >= 4 && kStage % 1024 == 0, "");

  static __device__ __forceinline__ u32 filled(u32 shared, int slot) { return shared + S * kStage + slot * 8; }
  static __device__ __forceinline__ u32 freed(u32 shared, int slot) { return filled(shared, S + slot); }

  static __device__ __forceinline__ void copy(const Args& a, int rows, int tiles, u32 shared) {
    u32 q = 0;
    // Constant columns are fetched before the predecessor has ended.
#pragma unroll
    for (int s = 0; s < kAhead; ++s) Whole::load_b(a, 0, s * BK, vt_block(a) % kTilesN * BN, shared + s * kStage + kBytesA);
    vt_wait();
    for (int tile = vt_block(a); tile < tiles; tile += Cfg::BLOCKS) {
      const int n0 = tile % kTilesN * BN, m0 = tile / kTilesN * BM;
      typename Cfg::Rows::Row row[Whole::kRowsA];
#pragma unroll
      for (int i = 0; i < Whole::kRowsA; ++i) {
        const int m = m0 + threadIdx.x / Whole::kColsA + i * Whole::kStepA;
        row[i] = Cfg::Rows::row(a, m < rows ? m : 0, m < rows);
      }
      for (int step = 0; step < kSteps; ++step, ++q) {
        const int slot = q % S;
        const u32 at = shared + slot * kStage;
        if (q >= S) vt_barrier_wait(freed(shared, slot), (q / S - 1) & 1);
        Whole::load_a(a, row, step * BK, at);
        if (q >= kAhead) Whole::load_b(a, 0, step * BK, n0, at + kBytesA);
        vt_commit();
        if (q >= kBehind) {
          vt_wait_copies<kBehind>();
          vt_async_fence();
          vt_barrier_arrive(filled(shared, (q - kBehind) % S));
        }
      }
    }
    vt_wait_copies<0>();
    vt_async_fence();
    for (u32 last = q < kBehind ? 0 : q - kBehind; last < q; ++last) vt_barrier_arrive(filled(shared, last % S));
  }

  static __device__ __forceinline__ void multiply(const Args& a, int rows, int tiles, u32 shared) {
    const int group = threadIdx.x / kGroup - 1, warp = threadIdx.x / 32 % 4, first = Cfg::TURNS == 2 ? 0 : group * kParts;
    u32 q = Cfg::TURNS == 2 ? group * kSteps : 0;
    vt_wait();
    for (int tile = vt_block(a) + (Cfg::TURNS == 2 ? group * Cfg::BLOCKS : 0); tile < tiles; tile += Cfg::TURNS * Cfg::BLOCKS) {
      typename Part::Acc acc[kParts];
#pragma unroll
      for (int p = 0; p < kParts; ++p)
#pragma unroll
        for (int j = 0; j < Part::kN; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) acc[p][0][j][e] = 0;
      // Not before the other's last stage was filled: a wait knows a phase from the one before, no more.
      if (Cfg::TURNS == 2 && tile != vt_block(a)) asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");
      for (int step = 0; step < kSteps; ++step, ++q) {
        const int slot = q % S;
        const u32 at = shared + slot * kStage;
        vt_barrier_wait(filled(shared, slot), q / S & 1);
        vt_wide_fence();
#pragma unroll
        for (int p = 0; p < kParts; ++p) {
          u64 da = vt_descriptor(at + (first + p) * (64 * 128), 0), db = vt_descriptor(at + kBytesA, BK * 128);
#pragma unroll
          for (int k = 0; k < BK; k += 16, da += 32 >> 4, db += 2048 >> 4) vt_wgmma(acc[p][0], da, db);
        }
        vt_wide_commit();
        vt_wide_wait_last();
        if (step > 0 && threadIdx.x % 32 == 0) vt_barrier_arrive(freed(shared, (q - 1) % S));
      }
      if (Cfg::TURNS == 2 && tile + Cfg::BLOCKS < tiles) asm volatile("bar.arrive %0, 256;" ::"r"(2 - group) : "memory");
#pragma unroll
      for (int p = 0; p < kParts; ++p) vt_wide_wait(acc[p][0]);
      if (threadIdx.x % 32 == 0) vt_barrier_arrive(freed(shared, (q - 1) % S));
#pragma unroll
      for (int p = 0; p < kParts; ++p)
        Part::finish_direct(acc[p], a, 0, tile / kTilesN * BM + (first + p) * 64 + warp * 16, tile % kTilesN * BN, rows);
      if (Cfg::TURNS == 2) q += kSteps;
    }
  }

  static __device__ __forceinline__ void run(const Args& a, int rows) {
    extern __shared__ __align__(1024) char memory[];
    const u32 shared = vt_shared(memory);
    vt_trigger();
    if (threadIdx.x == 0) {
      for (int s = 0; s < S; ++s) {
        vt_barrier_make(filled(shared, s), kGroup);
        vt_barrier_make(freed(shared, s), Cfg::TURNS == 2 ? 4 : 8);
      }
    }
    __syncthreads();
    const int tiles = (rows + BM - 1) / BM * kTilesN;
    if (threadIdx.x < kGroup) {
      vt_copier_registers();
      copy(a, rows, tiles, shared);
    } else {
      vt_multiplier_registers();
      multiply(a, rows, tiles, shared);
    }
  }
};
