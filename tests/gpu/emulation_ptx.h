// SPDX-License-Identifier: Apache-2.0
// The instructions and functions that kernels use, for emulation.h. An instruction's function has
// its name with '_' for '.' and ':', and its operands in order with vectors' and addresses'
// brackets left out (host_text.h); what has none here cannot be emulated.
#pragma once
#include "emulation.h"

namespace {
namespace emulation {

typedef unsigned u;
typedef unsigned short h;
typedef unsigned long long l;

static float of_bits(u bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
static u bits_of(float f) {
  u bits;
  memcpy(&bits, &f, 4);
  return bits;
}
static float half_value(h bits) {
  _Float16 x;
  memcpy(&x, &bits, 2);
  return static_cast<float>(x);
}
static h half_bits(float f) {
  const _Float16 x = static_cast<_Float16>(f);
  h bits;
  memcpy(&bits, &x, 2);
  return bits;
}
static h bfloat_bits(float f) {
  const u bits = bits_of(f);
  return f != f ? 0x7fff : static_cast<h>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static float value(h bits, bool bfloat) {
  return bfloat ? of_bits(static_cast<u>(bits) << 16) : half_value(bits);
}

// --- arithmetic and conversions
static void cvt_f32_f16(float& d, h a) { d = half_value(a); }
static void cvt_rn_f16_f32(h& d, float a) { d = half_bits(a); }
static void cvt_rn_bf16_f32(h& d, float a) { d = bfloat_bits(a); }
static void cvt_rn_f16x2_f32(u& d, float high, float low) {
  d = static_cast<u>(half_bits(high)) << 16 | half_bits(low);
}
static void cvt_rn_bf16x2_f32(u& d, float high, float low) {
  d = static_cast<u>(bfloat_bits(high)) << 16 | bfloat_bits(low);
}
static void cvt_rna_tf32_f32(u& d, float a) {
  d = std::isfinite(a) ? (bits_of(a) + 0x1000) & 0xffffe000u : bits_of(a);
}
static void ex2_approx_ftz_f32(float& d, float a) {
  d = exp2f(a);
  if (d < 0x1p-126f) d = 0;
}
static void rsqrt_approx_f32(float& d, float a) { d = 1 / sqrtf(a); }
static void rcp_approx_ftz_f32(float& d, float a) { d = 1 / a; }
static void max_NaN_f32(float& d, float a, float b) { d = a != a ? a : b != b ? b : fmaxf(a, b); }
template <class D, class A>
static void mov_u32(D& d, A a) {
  d = static_cast<D>(a);
}
static void mov_f32(float& d, float a) { d = a; }
static void setp_ne_b32(l& d, u a, u b) { d = a != b; }
static u special_cluster_ctarank() { return self->block->rank; }
static u special_ctaid_x() { return self->block->index.x; }
static u special_tid_x() { return self->thread.x; }

// --- order: every other thread sees what a fiber did
static void griddepcontrol_wait() {}
static void griddepcontrol_launch_dependents() {}
static void fence_proxy_async_shared__cta() {}
static void fence_mbarrier_init_release_cluster() {}
static void wgmma_fence_sync_aligned() {}
static void setmaxnreg_inc_sync_aligned_u32(int) {}
static void setmaxnreg_dec_sync_aligned_u32(int) {}
static void bar_sync(u number, u count) { arrive(self->block->named[number], count, true); }
static void bar_arrive(u number, u count) { arrive(self->block->named[number], count, false); }
static void barrier_cluster_arrive() {
  self->cluster_generation = cluster_barrier.generation;
  arrive(cluster_barrier, cluster_threads, false);
}
static void barrier_cluster_arrive_relaxed_aligned() { barrier_cluster_arrive(); }
static void barrier_cluster_arrive_release_aligned() { barrier_cluster_arrive(); }
static void barrier_cluster_wait_acquire_aligned() {
  wait_while(cluster_barrier.generation, self->cluster_generation);
}

// --- shared memory
static void ld_shared_b32(u& d, u from) { d = read<u>(from); }
static void st_shared_b32(u to, u x) { write(to, x); }
static void st_shared_b16(u to, h x) { write(to, x); }
static void mapa_shared__cluster_u32(u& d, u address, u rank) { d = (rank + 1) << 24 | address; }
static void ld_shared__cluster_v4_f32(float& x, float& y, float& z, float& w, u from) {
  const float* at_ = reinterpret_cast<const float*>(at(from, 16));
  x = at_[0], y = at_[1], z = at_[2], w = at_[3];
}
static void ld_shared__cluster_f64(double& d, u from) { d = read<double>(from); }

struct Rows {
  u* r[4];
  u from;
  bool transposed;
};
static void read_rows(Rows* const* lanes) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      if (!lanes[lane]->transposed) {
        memcpy(lanes[lane]->r[i], at(lanes[i * 8 + lane / 4]->from, 16) + lane % 4 * 4, 4);
        continue;
      }
      h pair[2];
      for (int e = 0; e < 2; ++e)
        memcpy(&pair[e], at(lanes[i * 8 + lane % 4 * 2 + e]->from, 16) + lane / 4 * 2, 2);
      *lanes[lane]->r[i] = pair[0] | static_cast<u>(pair[1]) << 16;
    }
}
static void ldmatrix_sync_aligned_m8n8_x4_shared_b16(u& a, u& b, u& c, u& d, u from) {
  Rows rows{{&a, &b, &c, &d}, from, false};
  together(read_rows, rows);
}
static void ldmatrix_sync_aligned_m8n8_x4_trans_shared_b16(u& a, u& b, u& c, u& d, u from) {
  Rows rows{{&a, &b, &c, &d}, from, true};
  together(read_rows, rows);
}

// --- asynchronous copies
static void land(const Copy& c) {
  memcpy(at(c.to, static_cast<u>(c.width)), c.data, static_cast<size_t>(c.width));
}
static void copy(u to, const void* from, int width, int bytes) {
  if (bytes < 0 || bytes > width) fault("copies a wrong number of bytes", bytes);
  if (bytes && reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(width))
    fault("copies from an address of wrong alignment", width);
  Copy c;
  c.to = to, c.width = width;
  if (bytes) memcpy(c.data, from, static_cast<size_t>(bytes));
  if (at_once())
    land(c);
  else
    at(to, static_cast<u>(width)), self->copies.back().push_back(c);
}
static void cp_async_cg_shared_global(u to, const void* from, int width, int bytes) {
  copy(to, from, width, bytes);
}
static void cp_async_ca_shared_global(u to, const void* from, int width, int bytes) {
  copy(to, from, width, bytes);
}
static void cp_async_commit_group() { self->copies.emplace_back(); }
static void cp_async_wait_group(int n) {
  while (static_cast<int>(self->copies.size()) - 1 > n) {
    for (const Copy& c : self->copies.front()) land(c);
    self->copies.erase(self->copies.begin());
  }
}

// --- mbarriers
static Counter& counter(u address) {
  Block& b = address >> 24 ? blocks[(address >> 24) - 1] : *self->block;
  const auto found = b.counters.find(address & 0xffffff);
  if (found == b.counters.end()) fault("no barrier there", address);
  return found->second;
}
static void settle(Counter& c) {
  if (c.left == 0 && c.bytes == 0) c.phase ^= 1, c.left = c.expected;
}
static void mbarrier_init_shared__cta_b64(u address, u count) {
  at(address, 8);
  self->block->counters[address] = {count, count, 0, 0};
}
static void mbarrier_arrive_shared__cta_b64(l&, u address) {
  Counter& c = counter(address);
  --c.left;
  settle(c);
}
static void mbarrier_arrive_expect_tx_shared__cta_b64(l&, u address, int bytes) {
  Counter& c = counter(address);
  c.bytes += bytes, --c.left;
  settle(c);
}
static void mbarrier_try_wait_parity_shared__cta_b64(l& done, u address, u parity) {
  wait_while(counter(address).phase, parity);
  done = 1;
}
static void mbarrier_try_wait_parity_acquire_cluster_shared__cta_b64(l& done, u address, u parity) {
  mbarrier_try_wait_parity_shared__cta_b64(done, address, parity);
}
static void st_async_shared__cluster_mbarrier__complete_tx__bytes_v4_f32(u to, float x, float y,
                                                                         float z, float w,
                                                                         u barrier) {
  const float v[4] = {x, y, z, w};
  memcpy(at(to, 16), v, 16);
  Counter& c = counter(barrier);
  c.bytes -= 16;
  settle(c);
}

// --- products of a warp
struct Multiply {
  float* d[4];
  u a[4], b[2];
  float c[4];
  int depth;
  int type;  // 0: float16, 1: bfloat16, 2: tf32
};
static void multiply(Multiply* const* lanes) {
  float a[16][16], b[16][8];
  const bool words = lanes[0]->type == 2;
  const int depth = lanes[0]->depth;
  for (int lane = 0; lane < 32; ++lane) {
    const Multiply& m = *lanes[lane];
    for (int i = 0; i < (words ? 4 : depth / 4); ++i) {
      const int row = lane / 4 + i % 2 * 8;
      if (words) {
        a[row][lane % 4 + i / 2 * 4] = of_bits(m.a[i] & 0xffffe000u);
        if (i < 2) b[lane % 4 + i * 4][lane / 4] = of_bits(m.b[i] & 0xffffe000u);
        continue;
      }
      for (int e = 0; e < 2; ++e) {
        a[row][i / 2 * 8 + lane % 4 * 2 + e] = value(static_cast<h>(m.a[i] >> 16 * e), m.type == 1);
        if (i < depth / 8)
          b[i * 8 + lane % 4 * 2 + e][lane / 4] =
              value(static_cast<h>(m.b[i] >> 16 * e), m.type == 1);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane)
    for (int e = 0; e < 4; ++e) {
      double sum = lanes[lane]->c[e];
      for (int k = 0; k < depth; ++k)
        sum += static_cast<double>(a[lane / 4 + e / 2 * 8][k]) * b[k][lane % 4 * 2 + e % 2];
      *lanes[lane]->d[e] = static_cast<float>(sum);
    }
}
#define VT_MULTIPLY(name, type)                                                                    \
  static void name(float& d0, float& d1, float& d2, float& d3, u a0, u a1, u a2, u a3, u b0, u b1, \
                   float c0, float c1, float c2, float c3) {                                       \
    Multiply m{{&d0, &d1, &d2, &d3}, {a0, a1, a2, a3},   {b0, b1},                                 \
               {c0, c1, c2, c3},     type == 2 ? 8 : 16, type};                                    \
    together(multiply, m);                                                                         \
  }
VT_MULTIPLY(mma_sync_aligned_m16n8k16_row_col_f32_f16_f16_f32, 0)
VT_MULTIPLY(mma_sync_aligned_m16n8k16_row_col_f32_bf16_bf16_f32, 1)
VT_MULTIPLY(mma_sync_aligned_m16n8k8_row_col_f32_tf32_tf32_f32, 2)
#undef VT_MULTIPLY
#define VT_MULTIPLY(name, type)                                                            \
  static void name(float& d0, float& d1, float& d2, float& d3, u a0, u a1, u b0, float c0, \
                   float c1, float c2, float c3) {                                         \
    Multiply m{{&d0, &d1, &d2, &d3}, {a0, a1, 0, 0}, {b0, 0}, {c0, c1, c2, c3}, 8, type};  \
    together(multiply, m);                                                                 \
  }
VT_MULTIPLY(mma_sync_aligned_m16n8k8_row_col_f32_f16_f16_f32, 0)
VT_MULTIPLY(mma_sync_aligned_m16n8k8_row_col_f32_bf16_bf16_f32, 1)
#undef VT_MULTIPLY

// --- products of four warps (wgmma), operands swizzled by 128 bytes
static float element(l descriptor, bool across, int n, int k, bool bfloat) {
  if (descriptor >> 62 != 1) fault("a descriptor of another swizzle");
  const u start = static_cast<u>(descriptor & 0x3fff) << 4,
          leading = static_cast<u>(descriptor >> 16 & 0x3fff) << 4,
          stride = static_cast<u>(descriptor >> 32 & 0x3fff) << 4, n_ = static_cast<u>(n),
          k_ = static_cast<u>(k);
  u address = across ? start + n_ / 64 * leading + k_ / 8 * stride + k_ % 8 * 128 + n_ % 64 * 2
                     : start + n_ / 8 * stride + n_ % 8 * 128 + k_ * 2;
  address ^= (address >> 7 & 7) << 4;
  return value(read<h>(address), bfloat);
}
static void add_product(const Product& p) {
  const int lane = static_cast<int>(self->thread.x % 32),
            warp = static_cast<int>(self->thread.x % 128 / 32);
  float a[2][16];
  for (int half = 0; half < 2; ++half)
    for (int k = 0; k < 16; ++k)
      a[half][k] = p.from_registers
                       ? p.rows[half][k]
                       : element(p.a, p.a_across, warp * 16 + half * 8 + lane / 4, k, p.bfloat);
  for (size_t j = 0; j < p.sums.size() / 4; ++j)
    for (int e = 0; e < 2; ++e) {
      double sums[2];
      for (int half = 0; half < 2; ++half)
        sums[half] = p.add ? *p.sums[j * 4 + static_cast<size_t>(half * 2 + e)] : 0;
      for (int k = 0; k < 16; ++k) {
        const float b =
            element(p.b, p.b_across, static_cast<int>(j) * 8 + lane % 4 * 2 + e, k, p.bfloat);
        for (int half = 0; half < 2; ++half) sums[half] += static_cast<double>(a[half][k]) * b;
      }
      for (int half = 0; half < 2; ++half)
        *p.sums[j * 4 + static_cast<size_t>(half * 2 + e)] = static_cast<float>(sums[half]);
    }
}
struct Fragment {
  u a[4];
  Product* to;
};
static void gather_rows(Fragment* const* lanes) {
  for (int lane = 0; lane < 32; ++lane)
    for (int c = 0; c < 4; ++c)
      for (int i = 0; i < 4; ++i)
        for (int e = 0; e < 2; ++e)
          lanes[lane]->to->rows[i % 2][i / 2 * 8 + 2 * c + e] = value(
              static_cast<h>(lanes[lane / 4 * 4 + c]->a[i] >> 16 * e), lanes[lane]->to->bfloat);
}
struct Operand {
  float* sum = nullptr;
  l number = 0;
  Operand(float& f) : sum(&f) {}
  template <class T>
  Operand(T x) : number(static_cast<l>(x)) {}
};
static void wide_product(std::vector<Operand> all, bool bfloat) {
  Product p;
  p.bfloat = bfloat;
  size_t at = 0;
  while (at < all.size() && all[at].sum) p.sums.push_back(all[at++].sum);
  std::vector<l> rest;
  for (; at < all.size(); ++at) rest.push_back(all[at].number);
  if (rest.size() == 9) {  // four registers of A; its scale and B's follow B
    p.from_registers = true, p.b = rest[4], p.add = rest[5], p.b_across = rest[8];
    Fragment f{{}, &p};
    for (int i = 0; i < 4; ++i) f.a[i] = static_cast<u>(rest[static_cast<size_t>(i)]);
    together(gather_rows, f);
  } else if (rest.size() == 7) {
    p.a = rest[0], p.b = rest[1], p.add = rest[2], p.a_across = rest[5], p.b_across = rest[6];
  } else {
    fault("wgmma with other operands", static_cast<long long>(rest.size()));
  }
  if (at_once())
    add_product(p);
  else
    self->products.back().push_back(std::move(p));
}
template <class... A>
static void wgmma_mma_async_sync_aligned_m64k16_f32_f16_f16(A&&... a) {
  wide_product({Operand(a)...}, false);
}
template <class... A>
static void wgmma_mma_async_sync_aligned_m64k16_f32_bf16_bf16(A&&... a) {
  wide_product({Operand(a)...}, true);
}
static void wgmma_commit_group_sync_aligned() { self->products.emplace_back(); }
static void wgmma_wait_group_sync_aligned(int n) {
  while (static_cast<int>(self->products.size()) - 1 > n) {
    for (const Product& p : self->products.front()) add_product(p);
    self->products.erase(self->products.begin());
  }
}

// --- lanes
struct Exchange {
  l x;
  u from;
};
static void exchange(Exchange* const* lanes) {
  l all[32];
  for (int i = 0; i < 32; ++i) all[i] = lanes[i]->x;
  for (int i = 0; i < 32; ++i) lanes[i]->x = all[lanes[i]->from % 32];
}
static void any(Exchange* const* lanes) {
  l all = 0;
  for (int i = 0; i < 32; ++i) all |= lanes[i]->x;
  for (int i = 0; i < 32; ++i) lanes[i]->x = all;
}
static void nothing(Exchange* const*) {}
// The arguments live on the caller's stack: results are read from there.
static l exchanged(void (*operation)(Exchange* const*), l x, u from) {
  Exchange e{x, from};
  together(operation, e);
  return e.x;
}
template <class T>
static T shuffle(T x, u from) {
  l word = 0;
  memcpy(&word, &x, sizeof(T));
  word = exchanged(exchange, word, from);
  memcpy(&x, &word, sizeof(T));
  return x;
}

}  // namespace emulation

static void __syncthreads() {
  emulation::arrive(emulation::self->block->named[0], emulation::self->block->running, true);
}
static void __syncwarp() { emulation::exchanged(emulation::nothing, 0, 0); }
template <class T>
static T __shfl_xor_sync(unsigned, T x, int mask) {
  return emulation::shuffle(x, (emulation::self->thread.x % 32) ^ static_cast<unsigned>(mask));
}
template <class T>
static T __shfl_sync(unsigned, T x, int lane) {
  return emulation::shuffle(x, static_cast<unsigned>(lane));
}
static bool __any_sync(unsigned, bool x) { return emulation::exchanged(emulation::any, x, 0) != 0; }
static float __uint_as_float(unsigned x) { return emulation::of_bits(x); }
static unsigned __float_as_uint(float x) { return emulation::bits_of(x); }
static double __longlong_as_double(long long x) {
  double d;
  memcpy(&d, &x, 8);
  return d;
}
static unsigned __cvta_generic_to_shared(const void* p) {
  return static_cast<unsigned>(static_cast<const char*>(p) - emulation::self->block->memory);
}
template <class A, class B>
static auto min(A a, B b) -> decltype(a + b) {
  return b < a ? b : a;
}
template <class A, class B>
static auto max(A a, B b) -> decltype(a + b) {
  return a < b ? b : a;
}
}  // namespace
