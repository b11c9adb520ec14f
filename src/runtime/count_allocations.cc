// SPDX-License-Identifier: Apache-2.0
// Counts allocations of the test program. A file of its own: inlined, GCC 12 takes the pair of new
// and free for a mismatch.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

std::atomic<int64_t> allocations{0};

#if !defined(__SANITIZE_ADDRESS__)  // which has replaced them all and checks that pairs match
void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
#endif
