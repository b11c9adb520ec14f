// SPDX-License-Identifier: Apache-2.0
// Tensor-core tiles by mma.sync (SM 8.0 and later): fragments, their loads from shared memory, and the
// swizzle that keeps those loads free of bank conflicts.

// Byte offset of the 16-byte chunk `chunk` of row `row` in a tile whose rows are RowBytes long: eight
// rows of one chunk, which is what ldmatrix reads, lie in eight different groups of banks.
template <int RowBytes> __device__ __forceinline__ u32 vt_swizzle(int row, int chunk) {
  constexpr int kChunks = RowBytes / 16, kMask = kChunks >= 8 ? 7 : kChunks - 1;
  constexpr int kRowsPerLine = RowBytes >= 128 ? 1 : 128 / RowBytes;
  return (u32)(row * RowBytes + ((chunk ^ ((row / kRowsPerLine) & kMask)) << 4));
}

__device__ __forceinline__ void vt_ldmatrix4(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}
__device__ __forceinline__ void vt_ldmatrix4_transposed(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}

// d += a b, a 16 x 16, b 16 x 8. Lane l holds of d rows l/4 and l/4 + 8, columns 2(l%4) and the next.
template <typename T> __device__ __forceinline__ void vt_mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1);
template <> __device__ __forceinline__ void vt_mma<f16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> __device__ __forceinline__ void vt_mma<bf16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// d = a b + c: no moves where a sum begins with something kept.
template <typename T> __device__ __forceinline__ void vt_mma_from(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, const float (&c)[4]);
template <> __device__ __forceinline__ void vt_mma_from<f16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, const float (&c)[4]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
template <> __device__ __forceinline__ void vt_mma_from<bf16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, const float (&c)[4]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}
// d += a b, a 16 x 8, b 8 x 8: the first half of the depth.
template <typename T> __device__ __forceinline__ void vt_mma8(float (&d)[4], u32 a0, u32 a1, u32 b);
template <> __device__ __forceinline__ void vt_mma8<f16>(float (&d)[4], u32 a0, u32 a1, u32 b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(b));
}
template <> __device__ __forceinline__ void vt_mma8<bf16>(float (&d)[4], u32 a0, u32 a1, u32 b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(b));
}
// d += a b, a 16 x 8, b 8 x 8, in tf32.
__device__ __forceinline__ void vt_mma_tf32(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ u32 vt_tf32(float x) {
  u32 y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}
// x as the sum of two tf32 numbers, 22 bits together. Infinities keep a finite rest.
__device__ __forceinline__ void vt_split(u32 bits, u32& high, u32& low) {
  high = vt_tf32(__uint_as_float(bits));
  const float rest = __uint_as_float(bits) - __uint_as_float(high);
  low = rest == rest ? vt_tf32(rest) : 0u;
}

// --- asynchronous copies of fewer than 16 bytes; `bytes` of them are copied, the rest becomes zero
template <int Width> __device__ __forceinline__ void vt_copy(u32 to, const void* from, int bytes) {
  if (Width == 16)
    vt_copy16(to, from, bytes);
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(Width), "r"(bytes) : "memory");
}

// --- clusters (SM 9.0)
__device__ __forceinline__ u32 vt_cluster_rank() {
  u32 rank = 0;
#if __CUDA_ARCH__ >= 900
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return rank;
}
__device__ __forceinline__ void vt_cluster_sync() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
// Four floats of block `rank`'s shared memory.
__device__ __forceinline__ float4 vt_load_cluster(u32 address, u32 rank) {
  float4 v = {0, 0, 0, 0};
#if __CUDA_ARCH__ >= 900
  u32 remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
  asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(remote) : "memory");
#endif
  return v;
}
// One double of it.
__device__ __forceinline__ double vt_load_cluster_double(u32 address, u32 rank) {
  double v = 0;
#if __CUDA_ARCH__ >= 900
  u32 remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
  asm volatile("ld.shared::cluster.f64 %0, [%1];" : "=d"(v) : "r"(remote) : "memory");
#endif
  return v;
}

__device__ __forceinline__ float vt_infinity() { return __uint_as_float(0x7f800000u); }

// --- wgmma (sm_90a): a warpgroup of four warps multiplies 64 rows by up to 256 columns; generated vt_wgmma
// has the instruction. Operands lie in tiles with rows of 128 bytes, swizzled as by vt_swizzle<128>, at
// multiples of 1024 bytes.
// `leading`: bytes from 64 columns to the next, for an operand whose rows run along k (B).
__device__ __forceinline__ u64 vt_descriptor(u32 at, u32 leading) {
  const u32 low = ((at & 0x3ffff) >> 4) | ((leading ? leading : 16) >> 4 << 16);
  return (u64)low | (u64)(1024 >> 4 | 1u << 30) << 32;
}
// Shared memory written by this thread is seen by the tensor cores after the next barrier.
__device__ __forceinline__ void vt_async_fence() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
