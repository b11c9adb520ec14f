// SPDX-License-Identifier: Apache-2.0
// The end of a tile whose depth the blocks of a cluster share, for tails of whole groups of columns (Cfg::EARLY).
// A cluster's barrier that orders memory costs a fence for the whole device, twice. Here each block sends every
// other one its part of that one's rows, to a place of its own behind the pipeline, and bytes are counted where
// they arrive: a block goes on as soon as it has all parts of its rows, and leaves when they are stored. The
// tail's operands are asked for before. Sums are those of Gemm's own end, in order of rank.
//
// Between a block's start and its sends all blocks of the cluster meet once, without waiting: who arrives early
// multiplies meanwhile.
template <class G, class Cfg> struct EarlyEnd {
  static constexpr int V = Tail::V, kCols = G::BN / V, kRows = G::BM / Cfg::SPLIT, kPieces = (kRows * kCols + G::kThreads - 1) / G::kThreads,
                       kTile = G::BM * G::kPitch * 4, kPipeline = Cfg::STAGES * G::kStage, kPlace = kPipeline > kTile ? kPipeline : kTile,
                       kBarrier = kPlace + kTile;
  static_assert(V % 4 == 0 && G::BM % Cfg::SPLIT == 0 && kPlace % 16 == 0, "");

  static __device__ __forceinline__ u32 in_block(u32 address, u32 rank) {
    u32 remote;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
    return remote;
  }

  static __device__ __forceinline__ void begin(u32 shared) {
    if (threadIdx.x == 0) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared + kBarrier) : "memory");
      asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;\n}" ::"r"(shared + kBarrier),
                   "r"(G::BM * G::BN * 4)
                   : "memory");
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncwarp();
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
  }

  // All copies have arrived, and all threads have passed a barrier since.
  static __device__ __forceinline__ void run(const Args& a, const typename G::Acc& acc, char* memory, u32 shared, int wm, int wn, int m0, int n0,
                                             int first_row, int rows) {
    const int lane = threadIdx.x % 32, rank = (int)vt_cluster_rank();
    float* out = reinterpret_cast<float*>(memory);
    typename Tail::template Piece<V> piece[kPieces];
    int row[kPieces], col[kPieces];
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int c = threadIdx.x + i * G::kThreads, r = m0 + rank * kRows + c / kCols;
      col[i] = n0 + c % kCols * V;
      row[i] = c < kRows * kCols && r < rows && col[i] < Cfg::N ? first_row + r : -1;
      if (row[i] >= 0) Tail::template load<V>(a, row[i], col[i], piece[i]);
    }
    // Through shared memory, so that whole lines are sent.
#pragma unroll
    for (int i = 0; i < G::kM; ++i)
#pragma unroll
      for (int j = 0; j < G::kN; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          *reinterpret_cast<float2*>(out + (wm * G::WTM + i * 16 + half * 8 + lane / 4) * G::kPitch + wn * G::WTN + j * 8 + lane % 4 * 2) =
              make_float2(acc[i][j][half * 2], acc[i][j][half * 2 + 1]);
    __syncthreads();
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");  // barriers of all are made
    constexpr int kFours = G::BN / 4;
#pragma unroll 4
    for (int c = threadIdx.x; c < G::BM * kFours; c += G::kThreads) {
      const int r = c / kFours, n = c % kFours * 4, owner = r / kRows;
      const float4 v = *reinterpret_cast<const float4*>(out + r * G::kPitch + n);
      const u32 to = in_block(shared + kPlace + ((rank * kRows + r % kRows) * G::kPitch + n) * 4, owner);
      asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to), "f"(v.x), "f"(v.y),
                   "f"(v.z), "f"(v.w), "r"(in_block(shared + kBarrier, owner))
                   : "memory");
    }
    asm volatile(
        "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], 0;\n@done bra over;\nbra again;\nover:\n}"
        ::"r"(shared + kBarrier) : "memory");
    const float* parts = reinterpret_cast<const float*>(memory + kPlace);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      if (row[i] < 0) continue;
      const int c = threadIdx.x + i * G::kThreads;
      float x[V];
#pragma unroll
      for (int v = 0; v < V; ++v) x[v] = 0;
#pragma unroll
      for (int s = 0; s < Cfg::SPLIT; ++s) {
        float part[V];
        vt_load<V>(parts + (s * kRows + c / kCols) * G::kPitch + c % kCols * V, part);
#pragma unroll
        for (int v = 0; v < V; ++v) x[v] += part[v];
      }
      Tail::template compute<V>(x, piece[i]);
      Tail::template store<V>(a, row[i], col[i], piece[i]);
    }
  }
};
