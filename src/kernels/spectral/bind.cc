// SPDX-License-Identifier: Apache-2.0
#include "kernels/spectral/bind.h"

#include "kernels/epilogue.h"

namespace vitrail {

Refusal spectral_accepts(const Problem& p) {
  if (p.inputs.size() != 6 || p.outputs.size() != 1)
    return "spectral has six inputs and one output";
  if (!p.epilogue.identity()) return "spectral has no epilogue";
  for (const auto* list : {&p.inputs, &p.outputs})
    for (const Operand& operand : *list)
      if (operand.dtype != DType::f32)
        return fmt::format("an operand is {}, not f32", name_of(operand.dtype));
  const Shape &g = p.inputs[0].dims, &m = p.outputs[0].dims;
  if (g.size() != 3 || m.size() != 3 || g[1] != g[2] || g[0] != m[0] || g[1] != m[1])
    return fmt::format("G is {} and M {}, not [b, c, c] and [b, c, o]", to_string(g), to_string(m));
  if (!g[1].is_constant() || !m[2].is_constant()) return "channels are not constant";
  const int64_t heads = p.integer("heads", 1);
  const Shape& q = p.inputs[1].dims;
  if (q.size() != 2 || q[0] != g[1] || !q[1].is_constant())
    return fmt::format("Wq is {} for G {}", to_string(q), to_string(g));
  if (heads < 1 || q[1].constant() % heads != 0)
    return fmt::format("{} columns in {} heads", q[1].constant(), heads);
  if (p.inputs[2].dims != q || p.inputs[3].dims != q)
    return fmt::format("Wq is {}, Wk {}, Wv {}", to_string(q), to_string(p.inputs[2].dims),
                       to_string(p.inputs[3].dims));
  if (p.inputs[4].dims != Shape{heads})
    return fmt::format("rescale is {} for {} heads", to_string(p.inputs[4].dims), heads);
  if (p.inputs[5].dims != Shape{q[1], m[2]})
    return fmt::format("Wproj is {} for Wq {} and M {}", to_string(p.inputs[5].dims), to_string(q),
                       to_string(m));
  return {};
}

std::vector<Tactic> spectral_tactics(const BoundProblem&, const Machine&, int) { return {{}}; }

Launch spectral_bind(const BoundProblem& problem, const Tactic&, const Machine&, int) {
  const auto matrix = [](const BoundOperand& operand) {
    const size_t rank = operand.strides.size();
    return MatrixStrides{operand.strides[rank - 2], operand.strides[rank - 1]};
  };
  SpectralState s{};
  s.batch = problem.inputs[0].dims[0];
  s.channels = problem.inputs[0].dims[1];
  s.heads = problem.problem->integer("heads", 1);
  s.depth = problem.inputs[1].dims[1] / s.heads;
  s.padded = (s.depth + 7) / 8 * 8;
  s.out = problem.outputs[0].dims[2];
  s.g_batch = problem.inputs[0].strides[0];
  s.m_batch = problem.outputs[0].strides[0];
  s.rescale_step = problem.inputs[4].strides[0];
  s.g = matrix(problem.inputs[0]);
  s.q = matrix(problem.inputs[1]);
  s.k = matrix(problem.inputs[2]);
  s.v = matrix(problem.inputs[3]);
  s.proj = matrix(problem.inputs[5]);
  s.m = matrix(problem.outputs[0]);
  s.eps = problem.problem->number("eps", 1e-12);
  constexpr int64_t kRows = 16;
  s.row_blocks = (s.channels + kRows - 1) / kRows;
  Launch launch;
  // First the columns of Wv blockdiag(A^T) of each head, then its rows times Wproj.
  launch.phase_ends = {s.batch * s.heads, s.batch * (s.heads + s.row_blocks)};
  launch.tasks = launch.phase_ends.back();
  const int64_t head = (5 * s.channels + 2 * s.depth + 2) * s.padded;
  const int64_t rows = s.out;
  launch.scratch_bytes = static_cast<size_t>(head > rows ? head : rows) * sizeof(double);
  launch.shared_bytes =
      static_cast<size_t>(s.batch * s.channels * s.heads * s.depth) * sizeof(double);
  append_state(launch.state, s);
  return launch;
}

}  // namespace vitrail
