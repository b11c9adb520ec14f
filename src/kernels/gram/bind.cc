// SPDX-License-Identifier: Apache-2.0
#include "kernels/gram/bind.h"

#include <algorithm>

#include "kernels/epilogue.h"
#include "kernels/gram/family.h"

namespace vitrail {

Refusal gram_accepts(const Problem& p) {
  if (p.inputs.size() != 1 || p.outputs.size() != 1) return "gram has one input and one output";
  if (!p.epilogue.identity()) return "gram has no epilogue";
  const Operand &x = p.inputs[0], &out = p.outputs[0];
  if (x.dtype != DType::f32 || out.dtype != DType::f32) return "gram computes f32 from f32";
  if (x.dims.size() != 3 && x.dims.size() != 4)
    return fmt::format("x is {}, of rank 3 or 4", to_string(x.dims));
  if (!x.dims.back().is_constant()) return "channels are not constant";
  // The partial sums of a task: 1024 channels are 8 MiB.
  if (x.dims.back().constant() > 1024)
    return fmt::format("{} channels, at most 1024", x.dims.back().constant());
  if (out.dims != Shape{x.dims[0], x.dims.back(), x.dims.back()})
    return fmt::format("x is {}, the output {}", to_string(x.dims), to_string(out.dims));
  return {};
}

std::vector<Tactic> gram_tactics(const BoundProblem&, const Machine&, int) { return {{}}; }

Launch gram_bind(const BoundProblem& problem, const Tactic&, const Machine&, int) {
  const BoundOperand &x = problem.inputs[0], &out = problem.outputs[0];
  const size_t rank = x.dims.size();
  GramState s{};
  s.batch = x.dims[0];
  s.rows = rank == 4 ? x.dims[1] : 1;
  s.cols = x.dims[rank - 2];
  s.channels = x.dims.back();
  s.x_batch = x.strides[0];
  s.x_row = rank == 4 ? x.strides[1] : 0;
  s.x_col = x.strides[rank - 2];
  s.x_channel = x.strides.back();
  s.out_batch = out.strides[0];
  s.out_row = out.strides[1];
  s.out_col = out.strides[2];
  constexpr int64_t kWidest = 32, kLeastTokens = 8 * kGramTile, kMostParts = 16;
  s.padded = (s.channels + kWidest - 1) / kWidest * kWidest;
  s.parts = std::clamp<int64_t>(s.rows * s.cols / kLeastTokens, 1, kMostParts);
  Launch launch;
  launch.phase_ends = {s.batch * s.parts, s.batch * s.parts + s.batch};
  launch.tasks = launch.phase_ends.back();
  launch.scratch_bytes = static_cast<size_t>(kGramTile * s.padded) * sizeof(float);
  launch.shared_bytes =
      static_cast<size_t>(s.batch * s.parts * s.padded * s.padded) * sizeof(double);
  append_state(launch.state, s);
  return launch;
}

}  // namespace vitrail
