// SPDX-License-Identifier: Apache-2.0
#include "kernels/gpu_kernel.h"

#include <iterator>

namespace vitrail {

#define VITRAIL_GPU_KERNEL(row) extern const GpuKernel row;
#include "kernels/gpu_kernels.inc"
#undef VITRAIL_GPU_KERNEL

namespace {
const GpuKernel* const kKernels[] = {
#define VITRAIL_GPU_KERNEL(row) &row,
#include "kernels/gpu_kernels.inc"
#undef VITRAIL_GPU_KERNEL
};
}  // namespace

std::span<const GpuKernel* const> all_gpu_kernels() { return kKernels; }

const GpuKernel* find_gpu_kernel(std::string_view name) {
  for (const GpuKernel* kernel : kKernels)
    if (kernel->name == name) return kernel;
  return nullptr;
}

Tensor gpu_pack(const GpuKernel& kernel, const Problem& problem, size_t index,
                const Tensor& dense) {
  const DType wanted = problem.inputs.at(index).dtype;
  // Packing functions read float32, whatever the model's weights are stored as.
  const bool widen = kernel.pack && is_float(dense.dtype()) && dense.dtype() != DType::f32;
  const Tensor packed =
      kernel.pack ? kernel.pack(problem, index, widen ? dense.cast(DType::f32) : dense) : dense;
  return packed.dtype() == wanted ? packed : packed.cast(wanted);
}

}  // namespace vitrail
