// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/cuda_wide.h"

#include <algorithm>

#include "base/round.h"
#include "kernels/cuda/text.h"

namespace vitrail {
namespace {
/// Columns of the sums: whole slabs of 64.
int64_t width_of(int64_t dv) { return ceil_div(dv, 64) * 64; }

/// "%<first>, %<first + 1>, ..": operands of an instruction.
std::string places(int64_t first, int64_t count) {
  std::string out;
  for (int64_t i = 0; i < count; ++i) out += fmt::format("{}%{}", i ? ", " : "", first + i);
  return out;
}
/// Those of an array [..][4] as the compiler binds them.
std::string bound(const char* constraint, const char* name, int64_t count) {
  std::string out;
  for (int64_t i = 0; i < count; ++i)
    out += fmt::format(R"({}"{}"({}[{}][{}]))", i ? ", " : "", constraint, name, i / 4, i % 4);
  return out;
}

// Cycles of a launch, fitted to 54 timings of heads of 64 channels on an H200, to 13 %; the pick is
// at most 3 % slower than the best of them. A key costs a warpgroup its exponentials and products;
// the second-level cache gives a multiprocessor 80 bytes a cycle.
double cycles(const WideAttention& t, int64_t blocks, int64_t steps, int64_t d, int64_t dv,
              const GpuMachine& machine) {
  constexpr double kLaunch = 700, kBlock = 2500, kJoin = 800, kCluster = 2000, kCopied = 80;
  const int64_t per_sm = ceil_div(blocks, machine.multiprocessors);
  const int64_t resident = std::clamp<int64_t>(
      machine.shared_bytes / (t.shared_bytes(d, dv) + 1024), 1, std::max<int64_t>(t.blocks(dv), 1));
  const double key = 5 + static_cast<double>(ceil_div(d, 16) * 16 + width_of(dv)) / 22;
  const double step =
      std::max(t.wq * t.wk * t.bc * key, static_cast<double>(t.bc * t.wk * (d + dv) * 2) / kCopied);
  const double ends = kBlock + (t.wk > 1 ? kJoin : 0) + (t.split > 1 ? kCluster * t.split : 0);
  return kLaunch + static_cast<double>(per_sm * ceil_div(steps, t.split)) * step +
         static_cast<double>(ceil_div(per_sm, resident)) * ends;
}
}  // namespace

int64_t WideAttention::shared_bytes(int64_t d, int64_t dv) const {
  const int64_t slabs = ceil_div(d, 64), queries = 64 * wq, keys = bc * wk;
  const int64_t pipeline = 128 * (slabs * queries + stages * (slabs + width_of(dv) / 64) * keys);
  const int64_t joined = wk * split > 1 ? wk * queries * (width_of(dv) + 8) * 4 : 0;
  return std::max(pipeline, joined);
}

int WideAttention::blocks(int64_t dv) const {
  // Scores, probabilities of half their bytes, sums, and what else there is.
  const int64_t registers = bc / 2 + bc / 4 + width_of(dv) / 2 + 36;
  const int groups = registers <= 128 ? 4 : registers <= 164 ? 3 : registers <= 216 ? 2 : 0;
  return groups / (wq * wk);
}

Tactic WideAttention::tactic() const {
  return {{"wide", 1}, {"wq", wq}, {"wk", wk}, {"bc", bc}, {"split", split}, {"stages", stages}};
}

WideAttention WideAttention::from(const Tactic& tactic) {
  WideAttention t;
  const std::pair<const char*, int*> keys[] = {
      {"wq", &t.wq}, {"wk", &t.wk}, {"bc", &t.bc}, {"split", &t.split}, {"stages", &t.stages}};
  for (const auto& [key, value] : keys)
    if (const auto found = tactic.find(key); found != tactic.end())
      *value = static_cast<int>(found->second);
  return t;
}

std::string WideAttention::text(DType type, int64_t dv) const {
  const char* name = type == DType::bf16 ? "bf16" : "f16";
  const int64_t width = width_of(dv), scores = bc / 2, sums = width / 2;
  std::string out =
      "__device__ __forceinline__ void vt_wide_fence() { asm volatile("
      "\"wgmma.fence.sync.aligned;\" ::: \"memory\"); }\n"
      "__device__ __forceinline__ void vt_wide_commit() { asm volatile("
      "\"wgmma.commit_group.sync.aligned;\" ::: \"memory\"); }\n";
  // Rows of both factors run along their common axis. add 0: what d holds is not added.
  out += fmt::format(
      "__device__ __forceinline__ void vt_wgmma_scores(float (&d)[{0}][4], u64 a, u64 b, int add) "
      "{{\n  asm volatile(\"{{\\n.reg .pred p;\\nsetp.ne.b32 p, %{1}, 0;\\n\"\n"
      "    \"wgmma.mma_async.sync.aligned.m64n{2}k16.f32.{3}.{3} {{{4}}}, %{5}, %{6}, p, 1, 1, 0, "
      "0;\\n}}\"\n    : {7} : \"l\"(a), \"l\"(b), \"r\"(add));\n}}\n",
      bc / 8, scores + 2, bc, name, places(0, scores), scores, scores + 1,
      bound("+f", "d", scores));
  // The second factor's rows run across it.
  out += fmt::format(
      "__device__ __forceinline__ void vt_wgmma_out(float (&d)[{0}][4], const u32 (&a)[4], u64 b) "
      "{{\n  asm volatile(\"wgmma.mma_async.sync.aligned.m64n{1}k16.f32.{2}.{2} {{{3}}}, {{{4}}}, "
      "%{5}, 1, 1, 1, 1;\"\n    : {6} : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), "
      "\"l\"(b));\n}}\n",
      width / 8, width, name, places(0, sums), places(sums, 4), sums + 4, bound("+f", "d", sums));
  out += fmt::format(
      "template <int N> __device__ __forceinline__ void vt_wide_wait_scores(float (&d)[{}][4]) "
      "{{\n  asm volatile(\"wgmma.wait_group.sync.aligned %{};\" : {} : \"n\"(N) : "
      "\"memory\");\n}}\n",
      bc / 8, scores, bound("+f", "d", scores));
  // Probabilities stay in their registers until they have been read.
  out += fmt::format(
      "__device__ __forceinline__ void vt_wide_wait_out(float (&d)[{}][4], u32 (&p)[{}][4]) {{\n"
      "  asm volatile(\"wgmma.wait_group.sync.aligned 0;\" : {}, {} :: \"memory\");\n}}\n",
      width / 8, bc / 16, bound("+f", "d", sums), bound("+r", "p", bc / 4));
  return out;
}

bool takes_wide_attention(const Problem& problem, const GpuMachine& machine) {
  if (!machine.hopper()) return false;
  for (size_t i = 0; i < 3; ++i)
    if (cuda::vector_width(problem, false, i) < 8 ||
        problem.inputs[i].dims.back().constant() % 8 != 0)
      return false;
  return true;
}

std::vector<std::pair<double, Tactic>> wide_attention_tactics(int64_t batch, int64_t queries,
                                                              int64_t keys, int64_t d, int64_t dv,
                                                              const GpuMachine& machine) {
  struct Shape {
    int wq, wk;
  };
  constexpr Shape kShapes[] = {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {1, 2}, {2, 2}, {1, 4}};
  std::vector<std::pair<double, Tactic>> found;
  for (const Shape& shape : kShapes)
    for (int split : {1, 2, 4}) {
      std::vector<std::pair<double, Tactic>> own;
      for (const int64_t most : {64, 80, 128, 144})
        for (int stages : {2, 3}) {
          // As few keys in each step as that number of steps allows.
          const int64_t each = ceil_div(std::max<int64_t>(keys, 1), shape.wk * split);
          const int64_t steps = ceil_div(each, most), bc = ceil_div(ceil_div(each, steps), 16) * 16;
          const WideAttention tile{shape.wq, shape.wk, static_cast<int>(bc), split, stages};
          const int64_t all = ceil_div(std::max<int64_t>(keys, 1), bc * shape.wk);
          if (bc > most || all < split || (stages > 2 && steps < stages) || tile.blocks(dv) == 0 ||
              tile.shared_bytes(d, dv) > machine.shared_bytes)
            continue;
          const int64_t blocks = ceil_div(std::max<int64_t>(queries, 1), 64 * tile.wq) *
                                 std::max<int64_t>(batch, 1) * split;
          const std::pair<double, Tactic> next{cycles(tile, blocks, all, d, dv, machine),
                                               tile.tactic()};
          if (std::find(own.begin(), own.end(), next) == own.end()) own.push_back(next);
        }
      std::stable_sort(own.begin(), own.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      // Two of a kind, so that those timed differ.
      found.insert(found.end(), own.begin(),
                   own.begin() + static_cast<int64_t>(std::min<size_t>(own.size(), 2)));
    }
  return found;
}

}  // namespace vitrail
