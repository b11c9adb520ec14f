// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace vitrail::cpu {
namespace {
constexpr size_t kPage = 4096, kHugePage = size_t{2} << 20;
}

Memory::~Memory() { release(); }

void Memory::swap(Memory& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
}

void Memory::release() {
  if (data_) ::munmap(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

void Memory::reserve(size_t bytes, const char* what) {
  if (bytes <= size_) return;
  release();
  // Pages straight from the system: given back at once, and not touched before they are used.
  require(bytes < SIZE_MAX - kHugePage, Code::resource, "no memory for {} of {} bytes", what,
          bytes);
  const size_t rounded = (bytes + kPage - 1) / kPage * kPage;
  void* memory =
      ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(memory != MAP_FAILED, Code::resource, "no memory for {} of {} bytes: {}", what, bytes,
          std::strerror(errno));
  if (rounded >= 2 * kHugePage)
    ::madvise(memory, rounded, MADV_HUGEPAGE);  // refused: ordinary pages do
  data_ = static_cast<std::byte*>(memory);
  size_ = rounded;
}

}  // namespace vitrail::cpu
