// SPDX-License-Identifier: Apache-2.0
#include "kernels/spectral/bind.h"

#include <algorithm>

#include "base/round.h"
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
  s.padded = round_up(s.depth, 8);
  s.out = problem.outputs[0].dims[2];
  // Columns of a matrix lie in different sets of the cache when its rows are so many lines apart.
  s.out_pitch = round_up(s.out, 8) / 8 % 2 ? round_up(s.out, 8) : round_up(s.out, 8) + 8;
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
  constexpr int64_t kRows = 32;
  s.row_blocks = ceil_div(s.channels, kRows);
  s.parts = ceil_div(s.depth, kSpectralPart);
  const int64_t c = s.channels, d = s.depth, n = s.padded, wide = s.heads * d;
  s.lower = c * c;
  s.scores = s.lower + c * c;
  s.inverse_k = s.scores + s.heads * d * n;
  s.inverse_q = s.inverse_k + s.heads * n;
  s.mixed = s.inverse_q + s.heads * n;
  s.image = s.mixed + wide * s.out_pitch;
  const int64_t tasks[] = {s.row_blocks, s.heads * s.parts, s.heads, s.row_blocks};
  for (int64_t end = 0, phase = 0; phase < 4; ++phase) s.phase_ends[phase] = end += tasks[phase];
  // Starting each phase costs up to a microsecond, in which a processor does 30000 to 60000
  // products.
  constexpr int64_t kSmall = 500000;
  s.whole_images = c * wide * (2 * c + 2 * d + s.out) < kSmall;
  Launch launch;
  launch.tasks = s.batch * (s.whole_images ? 1 : s.phase_ends[3]);
  for (int64_t end : s.phase_ends)
    if (!s.whole_images) launch.phase_ends.push_back(s.batch * end);
  const int64_t head = c * (n + 3 * kSpectralPart), attention = d * (n + s.out_pitch) + n,
                rows = ceil_div(c, s.row_blocks) * (wide + s.out_pitch),
                turned = ceil_div(ceil_div(c, s.row_blocks) * c, 2);
  launch.scratch_bytes =
      static_cast<size_t>(std::max({head, attention, rows, turned})) * sizeof(double);
  launch.shared_bytes = static_cast<size_t>(s.batch * s.image) * sizeof(double);
  append_state(launch.state, s);
  return launch;
}

}  // namespace vitrail
