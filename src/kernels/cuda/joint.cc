// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/joint.h"

#include <algorithm>

namespace vitrail::cuda {
namespace {

constexpr size_t kMostParameters = 120;

struct Parts {
  std::string_view headers, own;
};
Parts parts_of(std::string_view source) {
  const size_t at = source.find(kOwnPart);
  if (at == std::string_view::npos) return {};
  return {source.substr(0, at), source.substr(at)};
}

bool fits(const GpuCode& code, int cluster) {
  if (code.launches.size() != 1 || code.launches[0].library || !code.workspace_bytes.is(0) ||
      !code.counters.is(0))
    return false;
  const GpuLaunch& launch = code.launches[0];
  const std::string_view own = parts_of(code.source).own;
  return launch.grid[1].is(1) && launch.grid[2].is(1) && launch.cluster == cluster &&
         own.find("vt_block(a)") != std::string_view::npos &&
         own.find("blockIdx") == std::string_view::npos &&
         own.find("setmaxnreg") == std::string_view::npos;
}

// Parameters of a member's operands and the arguments that its function takes first.
struct Operands {
  std::string parameters, arguments;
  size_t count = 0;
};
Operands operands_of(const Problem& problem, size_t member) {
  Operands out;
  const auto add = [&](const std::vector<Operand>& list, const char* kind, const char* qualifier) {
    for (size_t i = 0; i < list.size(); ++i, ++out.count) {
      const std::string name = fmt::format("m{}_{}{}", member, kind, i);
      out.parameters += fmt::format("{}{}* {}{}, ", qualifier, c_type(list[i].dtype),
                                    list[i].constant ? "__restrict__ " : "", name);
      out.arguments += name + ", ";
    }
  };
  add(problem.inputs, "in", "const ");
  add(problem.outputs, "out", "");
  return out;
}

}  // namespace

std::optional<GpuCode> join(const std::vector<JointMember>& members) {
  if (members.size() < 2) return {};
  const int cluster = members[0].code.launches.at(0).cluster;
  std::string_view headers;
  for (const JointMember& m : members) {
    if (!fits(m.code, cluster)) return {};
    if (const std::string_view h = parts_of(m.code.source).headers; h.size() > headers.size())
      headers = h;
  }
  GpuLaunch launch{.entry = "joint", .grid = {0, 1, 1}, .cluster = cluster};
  for (const JointMember& m : members) {
    if (!headers.starts_with(parts_of(m.code.source).headers)) return {};
    launch.threads = std::max(launch.threads, m.code.launches[0].threads);
    launch.shared_bytes = std::max(launch.shared_bytes, m.code.launches[0].shared_bytes);
  }

  GpuCode out;
  out.source = std::string(headers) +
               "#undef VT_ENTRY\n#undef VT_FIRST_PARAMETER\n#undef VT_FIRST\n"
               "#define VT_ENTRY(...) static __device__ __forceinline__ void\n"
               "#define VT_FIRST_PARAMETER , int first_block\n#define VT_FIRST first_block\n";
  std::vector<std::string_view> spaces;  // equal texts are written once
  std::string parameters, starts, body, numbers;
  Expr blocks = 0;
  size_t count = 2;
  for (size_t i = 0; i < members.size(); ++i) {
    const GpuCode& code = members[i].code;
    const std::string_view own = parts_of(code.source).own;
    const auto same = std::find(spaces.begin(), spaces.end(), own);
    const auto space = same - spaces.begin();
    if (same == spaces.end()) {
      spaces.push_back(own);
      out.source +=
          fmt::format("namespace m{} {{\n{}}}\n#undef VT_NUMBERS\n#undef VT_MEMBERS\n", space, own);
    }
    const Operands operands = operands_of(*members[i].problem, i);
    parameters += operands.parameters;
    std::string own_numbers;
    for (const Expr& e : code.launches[0].numbers) {
      const std::string name = fmt::format("n{}", launch.numbers.size());
      numbers += ", long long " + name;
      own_numbers += ", " + name;
      launch.numbers.push_back(e);
    }
    count += operands.count + code.launches[0].numbers.size() + 1;
    const GpuLaunch& mine = code.launches[0];
    if (i > 0) starts += fmt::format(", long long first{}", i);
    const std::string first = i > 0 ? fmt::format("(int)first{}", i) : "0";
    // Blocks are as large as the largest member's.
    const std::string leave =
        mine.threads < launch.threads
            ? fmt::format("    if (threadIdx.x >= {}) return;\n", mine.threads)
            : "";
    const std::string call = fmt::format("{}    m{}::{}({}workspace, counters{}, {});\n", leave,
                                         space, mine.entry, operands.arguments, own_numbers, first);
    const std::string condition =
        i + 1 < members.size() ? fmt::format("if ((int)blockIdx.x < first{}) ", i + 1) : "";
    body += fmt::format("  {}{{\n{}    return;\n  }}\n", condition, call);
    blocks += mine.grid[0];
  }
  if (count > kMostParameters) return {};
  Expr first = 0;
  for (size_t i = 0; i + 1 < members.size(); ++i) {
    first += members[i].code.launches[0].grid[0];
    launch.numbers.push_back(first);
  }
  out.source += fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({}) joint({}char* workspace, int* "
      "counters{}{}) "
      "{{\n{}}}\n",
      launch.threads, parameters, numbers, starts, body);
  launch.grid[0] = blocks;
  out.launches = {std::move(launch)};
  return out;
}

}  // namespace vitrail::cuda
