// SPDX-License-Identifier: Apache-2.0
#include "base/recycle.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>

namespace vitrail {
namespace {

constexpr size_t kPage = 4096, kHugePage = size_t{2} << 20;
constexpr size_t kLarge = 2 * kHugePage, kMostKept = size_t{512} << 20;

struct Kept {
  std::mutex mutex;
  int users = 0;
  size_t bytes = 0;
  std::multimap<size_t, void*> blocks;  // by size
};
// Never destroyed: tensors of static life may outlast it.
Kept& kept() {
  static auto* const one = new Kept;
  return *one;
}

void* take(size_t bytes) {
  Kept& k = kept();
  const std::lock_guard lock(k.mutex);
  const auto found = k.blocks.lower_bound(bytes);
  if (found == k.blocks.end() || found->first > bytes + bytes / 4) return nullptr;
  void* const memory = found->second;
  k.bytes -= found->first;
  k.blocks.erase(found);
  return memory;
}

void give_back(void* memory, size_t bytes) {
  Kept& k = kept();
  {
    const std::lock_guard lock(k.mutex);
    if (k.users > 0 && k.bytes + bytes <= kMostKept) {
      k.blocks.emplace(bytes, memory);
      k.bytes += bytes;
      return;
    }
  }
  std::free(memory);
}

}  // namespace

RecycleTensors::RecycleTensors() {
  const std::lock_guard lock(kept().mutex);
  ++kept().users;
}
RecycleTensors::~RecycleTensors() {
  Kept& k = kept();
  const std::lock_guard lock(k.mutex);
  if (--k.users > 0) return;
  for (const auto& [bytes, memory] : k.blocks) std::free(memory);
  k.blocks.clear();
  k.bytes = 0;
}

std::shared_ptr<void> tensor_memory(size_t bytes) {
  if (bytes < kLarge) return {std::aligned_alloc(64, bytes), std::free};
  void* memory = take(bytes);
  if (!memory && (memory = std::aligned_alloc(64, bytes)) != nullptr) {
    // Small pages take longer to be had than the tensor to be filled. Refused: ordinary ones do.
    auto* const page =
        reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage);
    ::madvise(page, bytes - kPage, MADV_HUGEPAGE);
  }
  if (!memory) return {};
  return {memory, [bytes](void* m) { give_back(m, bytes); }};
}

}  // namespace vitrail
