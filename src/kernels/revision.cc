// SPDX-License-Identifier: Apache-2.0
#include "kernels/revision.h"

namespace vitrail {

const char* kernel_revision() {
  return
#include "kernel_revision.inc"
      ;
}

}  // namespace vitrail
