// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>

namespace vitrail::cpu {

/// Memory of a session: arena, scratch, outputs. 64-byte aligned, zero at first; large pieces ask
/// for huge pages. Move-only.
class Memory {
 public:
  Memory() = default;
  ~Memory();
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }

  /// At least `bytes`; what was there is lost when it has to grow, and returned to the system
  /// before more is asked for. Throws Error(resource) naming `what`.
  void reserve(size_t bytes, const char* what);
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void swap(Memory& other) noexcept;
  void release();
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace vitrail::cpu
