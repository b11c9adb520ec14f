// SPDX-License-Identifier: Apache-2.0
#include "base/gpu.h"

#include "base/error.h"

namespace vitrail {

std::string GpuMachine::architecture() const {
  return fmt::format("sm_{}{}", sm, sm == 90 ? "a" : "");
}

GpuMachine typical_gpu(int sm) {
  constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20;
  switch (sm) {
    case 80:
      return {80, 108, 163 * kKiB, 40 * kMiB, 0, ""};  // A100
    case 86:
      return {86, 72, 99 * kKiB, 6 * kMiB, 0, ""};  // A10
    case 87:
      return {87, 16, 163 * kKiB, 4 * kMiB, 0, ""};  // Orin
    case 89:
      return {89, 58, 99 * kKiB, 48 * kMiB, 0, ""};  // L4
    case 90:
      return {90, 132, 227 * kKiB, 50 * kMiB, 0, ""};  // H100, H200
    default:
      fail(Code::unsupported,
           "compute capability {}.{}: kernels are written for 8.0, 8.6, 8.7, 8.9 and 9.0", sm / 10,
           sm % 10);
  }
}

}  // namespace vitrail
