// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "plan/plan.h"

// For tests: plans put together by hand, and kernels of two families that do next to nothing.
namespace vitrail::toy {

/// "toy_scale": output = a * input + b elementwise over any strides, one task a row of the
/// outermost axis. floats: a (1), b (0). Kernels toy_scale_baseline, toy_scale_avx2 (adds 1000 when
/// int "tell" is set, so that tests see which level ran), toy_scale_avx512 (adds 2000).
/// "toy_matmul": [m, k] x constant [k, n] -> [m, n]; the sum is made in two phases, half of k each.
std::span<const CpuKernel* const> kernels();

class Maker {
 public:
  explicit Maker(std::string target = "cpu") {
    plan.model_name = "toy", plan.target = std::move(target);
  }
  Expr symbol(const std::string& name, int64_t min, int64_t opt, int64_t max);
  Expr data_symbol(const std::string& name, const Expr& bound);
  int input(const std::string& name, DType dtype, const Shape& dims);
  int output(const std::string& name, DType dtype, const Shape& dims);
  int constant(const std::string& name, const Tensor& tensor);
  /// A dense value in an arena buffer of its own.
  int temporary(const std::string& name, DType dtype, const Shape& dims);
  /// A window of the buffer in which `of` lies.
  int view(const std::string& name, int of, const Shape& dims, const Expr& offset,
           const Shape& strides);
  Step scale(const std::string& name, int from, int to, double a, double b) const;
  Step matmul(const std::string& name, int from, int weight, int to) const;
  static Step host(const std::string& op, std::vector<int> inputs, std::vector<int> outputs,
                   Attrs attrs = {});
  Plan plan;

 private:
  Operand operand(int value, bool constant) const;
};

}  // namespace vitrail::toy
