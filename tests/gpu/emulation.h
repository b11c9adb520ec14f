// SPDX-License-Identifier: Apache-2.0
// What the generated CUDA text of a kernel needs to run on the host: host_text() puts this before
// it. Threads are fibers that change over only where they wait for each other, in an order that
// `seed` changes, so that what lacks a barrier is done too early in one order or the other. Shared
// memory starts as NaN. Asynchronous copies and products take effect when they are issued at even
// seeds and when they are waited for at odd ones: a memory that is overwritten too early shows in
// one, one that is read too early in the other. Not seen: races between blocks, orders of memory
// without barriers, what global memory a launch touches before vt_wait().
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __constant__ static const
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define threadIdx (emulation::self->thread)
#define blockIdx (emulation::self->block->index)

struct uint2 {
  alignas(8) unsigned x;
  unsigned y;
};
struct uint4 {
  alignas(16) unsigned x;
  unsigned y, z, w;
};
struct float2 {
  alignas(8) float x;
  float y;
};
struct float4 {
  alignas(16) float x;
  float y, z, w;
};
struct double2 {
  alignas(16) double x;
  double y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// Nothing here may be shared with another kernel that this process has loaded.
namespace {
namespace emulation {

/// A launch, as the test describes it.
struct Shape {
  unsigned grid[3], threads, shared_bytes, cluster;
  unsigned long long seed;
};
struct Index {
  unsigned x = 0, y = 0, z = 0;
};
struct Barrier {
  unsigned arrived = 0, generation = 0;
};
/// An mbarrier.
struct Counter {
  unsigned expected = 0, left = 0, phase = 0;
  long bytes = 0;
};
struct Warp {
  Barrier barrier;
  const void* operation = nullptr;
  void* arguments[32];
};
constexpr unsigned kStatic = 48 << 10, kGuard = 1024;
struct Block {
  Index index;
  unsigned rank = 0, threads = 0, running = 0, bytes = 0, statics = 0;
  char* memory = nullptr;  // dynamic shared memory, static shared memory, a guard
  std::vector<char> storage;
  std::map<int, unsigned> places;  // of static shared arrays
  Barrier named[16];
  std::map<unsigned, Counter> counters;
  std::vector<Warp> warps;
};
struct Copy {
  unsigned to = 0;
  int width = 0;
  char data[16] = {};
};
struct Product {  // wgmma
  std::vector<float*> sums;
  float rows[2][16];  // of A, where it is in registers
  unsigned long long a = 0, b = 0;
  bool from_registers = false, add = true, a_across = false, b_across = false, bfloat = false;
};
struct Fiber {
  jmp_buf where;
  ucontext_t start;
  std::unique_ptr<char[]> stack;
  bool started = false, done = true;
  Index thread;
  Block* block = nullptr;
  const unsigned* word = nullptr;  // waits while this is `value`
  unsigned value = 0, cluster_generation = 0;
  std::vector<std::vector<Copy>> copies{1};
  std::vector<std::vector<Product>> products{1};
};

static Fiber* self = nullptr;
static jmp_buf scheduler;
static ucontext_t scheduler_start;
static std::vector<std::unique_ptr<Fiber>> fibers;
static std::vector<Block> blocks;  // of the cluster
static Barrier cluster_barrier;
static unsigned cluster_threads = 0;
static void (*body)(void*) = nullptr;
static void* body_arguments = nullptr;
static unsigned long long seed = 0;
static char message[400];
static bool at_once() { return seed % 2 == 0; }

/// Ends the launch: nothing that has run is used.
[[noreturn]] static void fault(const char* what, long long number = 0) {
  snprintf(message, sizeof message, "%s (%lld) by thread %u of block %u %u %u", what, number,
           self->thread.x, self->block->index.x, self->block->index.y, self->block->index.z);
  _longjmp(scheduler, 2);
}
static void leave() {
  if (!_setjmp(self->where)) _longjmp(scheduler, 1);
}
static void wait_while(const unsigned& word, unsigned value) {
  if (word != value) return;
  self->word = &word, self->value = value;
  leave();
}
static void release(Barrier& b) { b.arrived = 0, ++b.generation; }
static void arrive(Barrier& b, unsigned count, bool wait) {
  const unsigned generation = b.generation;
  if (++b.arrived >= count)
    release(b);
  else if (wait)
    wait_while(b.generation, generation);
}

/// What a warp does together: the last lane to arrive does it for all.
template <class A>
static void together(void (*operation)(A* const*), A& arguments) {
  Warp& w = self->block->warps[self->thread.x / 32];
  if (w.barrier.arrived && w.operation != reinterpret_cast<void*>(operation))
    fault("lanes of a warp that do different things together");
  w.operation = reinterpret_cast<void*>(operation);
  w.arguments[self->thread.x % 32] = &arguments;
  const unsigned generation = w.barrier.generation;
  if (++w.barrier.arrived == 32) {
    A* all[32];
    for (int i = 0; i < 32; ++i) all[i] = static_cast<A*>(w.arguments[i]);
    operation(all);
    release(w.barrier);
  } else {
    wait_while(w.barrier.generation, generation);
  }
}

// --- shared memory; an address of another block has its rank and one in the upper byte
static char* at(unsigned address, unsigned bytes) {
  Block* b = self->block;
  if (address >> 24) {
    if ((address >> 24) > blocks.size()) fault("no such block in the cluster", address >> 24);
    b = &blocks[(address >> 24) - 1];
    if (b->running == 0) fault("shared memory of a block that has ended");
    address &= 0xffffff;
  }
  if (address % bytes) fault("address in shared memory of wrong alignment", address);
  if (address + bytes > b->bytes + b->statics) fault("address outside of shared memory", address);
  return b->memory + address;
}
template <class T>
static T read(unsigned address) {
  T x;
  memcpy(&x, at(address, sizeof(T)), sizeof(T));
  return x;
}
template <class T>
static void write(unsigned address, T x) {
  memcpy(at(address, sizeof(T)), &x, sizeof(T));
}
static char* dynamic_shared() { return self->block->memory; }
static char* static_shared(int number, unsigned bytes) {
  Block& b = *self->block;
  const auto [place, made] = b.places.insert({number, b.bytes + b.statics});
  if (made) b.statics += (bytes + 15) / 16 * 16;
  if (b.statics > kStatic) fault("too much static shared memory", b.statics);
  return b.memory + place->second;
}

// --- blocks
static void fiber_main() {
  while (true) {
    body(body_arguments);
    self->done = true;
    Block& b = *self->block;
    --b.running;
    if (b.running && b.named[0].arrived >= b.running) release(b.named[0]);
    if (self->copies.size() > 1 || !self->copies[0].empty()) self->copies.assign(1, {});
    leave();
  }
}
static void run_fiber(Fiber* f) {
  switch (_setjmp(scheduler)) {
    case 0:
      break;
    default:
      return;
  }
  self = f;
  f->word = nullptr;
  if (f->started) _longjmp(f->where, 1);
  f->started = true;
  setcontext(&f->start);
}
static unsigned long long next_random(unsigned long long& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 33;
}
static bool run_cluster(const Shape& shape, unsigned first, unsigned y, unsigned z) {
  const unsigned count = shape.threads * shape.cluster;
  cluster_barrier = {}, cluster_threads = count;
  for (unsigned r = 0; r < shape.cluster; ++r) {
    Block& b = blocks[r];
    b.index = {first + r, y, z};
    b.rank = r, b.threads = b.running = shape.threads,
    b.bytes = (shape.shared_bytes + 15) / 16 * 16, b.statics = 0;
    b.places.clear();
    b.counters.clear();
    for (Barrier& n : b.named) n = {};
    b.warps.assign((shape.threads + 31) / 32, {});
    b.storage.assign(b.bytes + kStatic + kGuard + 1024, static_cast<char>(0xff));
    b.memory = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(b.storage.data()) + 1023) /
                                       1024 * 1024);
  }
  while (fibers.size() < count) {
    auto f = std::make_unique<Fiber>();
    constexpr size_t kStack = 128 << 10;
    f->stack.reset(new char[kStack]);
    getcontext(&f->start);
    f->start.uc_stack.ss_sp = f->stack.get();
    f->start.uc_stack.ss_size = kStack;
    f->start.uc_link = nullptr;
    makecontext(&f->start, fiber_main, 0);
    fibers.push_back(std::move(f));
  }
  // A warp runs as far as it can, before those behind it or before those ahead of it; in some
  // blocks instead all threads run from wait to wait, in a mixed order.
  std::vector<unsigned> order(count);
  const bool backwards = seed / 2 % 2, mixed = first / shape.cluster % 3 == 2;
  for (unsigned i = 0; i < count; ++i) order[i] = backwards ? count - 1 - i : i;
  unsigned long long state = seed / 4 + first * 7919u;
  for (unsigned i = count - 1; mixed && i > 0; --i)
    std::swap(order[i], order[next_random(state) % (i + 1)]);
  const unsigned together = mixed ? count : 32;
  for (unsigned i = 0; i < count; ++i) {
    Fiber& f = *fibers[i];
    f.done = false, f.word = nullptr;
    f.block = &blocks[i / shape.threads];
    f.thread = {i % shape.threads, 0, 0};
    f.copies.assign(1, {});
    f.products.assign(1, {});
  }
  unsigned left = count;
  while (left) {
    bool any = false;
    for (unsigned begin = 0; begin < count; begin += together)
      for (bool ran = true; ran;) {
        ran = false;
        for (unsigned i = begin; i < count && i < begin + together; ++i) {
          Fiber* f = fibers[order[i]].get();
          if (f->done || (f->word && *f->word == f->value)) continue;
          ran = any = true;
          run_fiber(f);
          if (message[0]) return false;
          left -= f->done;
        }
        if (mixed) break;
      }
    if (!any) {
      snprintf(message, sizeof message, "%u of %u threads wait for each other in block %u", left,
               count, first);
      return false;
    }
  }
  for (unsigned r = 0; r < shape.cluster; ++r)
    for (unsigned i = blocks[r].bytes + blocks[r].statics;
         i < blocks[r].bytes + blocks[r].statics + kGuard; ++i)
      if (blocks[r].memory[i] != static_cast<char>(0xff)) {
        snprintf(message, sizeof message, "wrote outside of shared memory, at %u of %u", i,
                 blocks[r].bytes);
        return false;
      }
  return true;
}
static const char* run_blocks(const Shape& shape) {
  message[0] = 0;
  seed = shape.seed;
  blocks.resize(shape.cluster);
  if (shape.grid[0] % shape.cluster) return "the grid is no multiple of the cluster";
  // Blocks in order or against it.
  const unsigned across = shape.grid[0] / shape.cluster,
                 all = across * shape.grid[1] * shape.grid[2];
  for (unsigned i = 0; i < all; ++i) {
    const unsigned b = seed / 2 % 2 ? all - 1 - i : i;
    if (!run_cluster(shape, b % across * shape.cluster, b / across % shape.grid[1],
                     b / across / shape.grid[1]))
      return message;
  }
  return nullptr;
}
template <class A>
static A parameter(unsigned long long word) {
  A a;
  memcpy(&a, &word, sizeof(A));
  return a;
}
template <class... A, size_t... I>
static const char* run(void (*kernel)(A...), const Shape& shape, const unsigned long long* words,
                       std::index_sequence<I...>) {
  auto call = [&] { kernel(parameter<A>(words[I])...); };
  body = [](void* p) { (*static_cast<decltype(call)*>(p))(); };
  body_arguments = &call;
  return run_blocks(shape);
}
/// What went wrong, or null.
template <class... A>
static const char* run(void (*kernel)(A...), const Shape& shape, const unsigned long long* words) {
  return run(kernel, shape, words, std::index_sequence_for<A...>());
}

}  // namespace emulation
}  // namespace

// The compiler's checks (-fsanitize=alignment,bounds) call these.
extern "C" {
__attribute__((visibility("hidden"))) void __ubsan_handle_type_mismatch_v1(void*, unsigned long p) {
  emulation::fault("address of wrong alignment", static_cast<long long>(p % 16));
}
__attribute__((visibility("hidden"))) void __ubsan_handle_out_of_bounds(void*, unsigned long i) {
  emulation::fault("index outside of an array", static_cast<long long>(i));
}
}
