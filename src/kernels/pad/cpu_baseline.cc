// SPDX-License-Identifier: Apache-2.0
#include "kernels/pad/family.h"
#include "kernels/rows_body.h"

namespace vitrail {
namespace {

template <typename T>
void fill(T* to, int64_t count, T value) {
  for (int64_t i = 0; i < count; ++i) to[i] = value;
}

/// One row of the last padded axis: runs of neighbours in the input that are neighbours in the
/// output move together.
template <typename T>
void pad_row(const PadState& s, const int64_t* map, const T* from, T* to, T value) {
  const int64_t last = s.rank - 1, n = s.dims[last], step = s.in[last];
  const bool dense = step == s.block && s.out[last] == s.block;
  for (int64_t j = 0; j < n;) {
    T* out = to + j * s.out[last];
    int64_t run = 1;
    if (map[j] < 0) {
      fill(out, s.block, value);
    } else {
      if (dense)
        while (j + run < n && map[j + run] == map[j] + run) ++run;
      __builtin_memcpy(out, from + map[j] * step, static_cast<size_t>(run * s.block) * sizeof(T));
    }
    j += run;
  }
}

template <typename T>
void pad_task(const PadState& s, const int64_t* maps, const KernelArgs& args, int64_t task) {
  const auto* from = static_cast<const T*>(args.inputs[0]);
  auto* to = static_cast<T*>(args.outputs[0]);
  T value;
  __builtin_memcpy(&value, &s.value, sizeof value);
  if (s.rank == 0) {
    __builtin_memcpy(to, from, static_cast<size_t>(s.block) * sizeof(T));
    return;
  }
  int64_t starts[PadState::kMaxRank], total = 0;
  for (int64_t i = 0; i < s.rank; ++i) {
    starts[i] = total;
    total += s.dims[i];
  }
  int64_t end = (task + 1) * s.rows_per_task;
  end = end < s.rows ? end : s.rows;
  for (int64_t row = task * s.rows_per_task; row < end; ++row) {
    int64_t in = 0, out = 0, rest = row;
    bool inside = true;
    for (int64_t i = s.rank - 2; i >= 0; --i) {
      const int64_t at = rest % s.dims[i], source = maps[starts[i] + at];
      rest /= s.dims[i];
      inside &= source >= 0;
      in += source * s.in[i];
      out += at * s.out[i];
    }
    if (inside) {
      pad_row(s, maps + starts[s.rank - 1], from + in, to + out, value);
    } else {
      for (int64_t j = 0; j < s.dims[s.rank - 1]; ++j)
        fill(to + out + j * s.out[s.rank - 1], s.block, value);
    }
  }
}

void pad_run(const BoundProblem&, const Launch& launch, const KernelArgs& args, int64_t task, void*,
             void*) noexcept {
  const auto& state = state_of<PadState>(launch);
  const int64_t* maps = launch.state.data() + sizeof(PadState) / sizeof(int64_t);
  switch (state.size) {
    case 1:
      return pad_task<uint8_t>(state, maps, args, task);
    case 2:
      return pad_task<uint16_t>(state, maps, args, task);
    case 4:
      return pad_task<uint32_t>(state, maps, args, task);
    default:
      return pad_task<uint64_t>(state, maps, args, task);
  }
}

}  // namespace

extern const CpuKernel pad_any_baseline;
const CpuKernel pad_any_baseline{"pad_any_baseline", "pad",    Isa::baseline, pad_accepts,
                                 pad_tactics,        pad_bind, pad_run};

}  // namespace vitrail
