// SPDX-License-Identifier: Apache-2.0
// Loads a plan, runs it once on zeros at its optimal shapes, prints what comes out.
#include <cstdio>
#include <vector>

#include "vitrail/session.h"

namespace {

std::string text(std::span<const int64_t> dims) {
  std::string out;
  for (int64_t extent : dims) out += (out.empty() ? "" : "x") + std::to_string(extent);
  return out.empty() ? "scalar" : out;
}

void run(const char* path) {
  const vitrail::LoadedPlan plan = vitrail::LoadedPlan::load(path);
  vitrail::Session session(plan, {.threads = 2});

  std::vector<std::vector<std::byte>>
      memory;  // the session reads the inputs until run() has returned
  for (const vitrail::TensorSpec& input : plan.inputs()) {
    size_t bytes = vitrail::size_of(input.dtype);
    for (int64_t extent : input.opt) bytes *= static_cast<size_t>(extent);
    memory.emplace_back(bytes);
    session.set_input(input.name, input.dtype, input.opt, memory.back().data());
    std::printf("in   %s %s %s\n", input.name.c_str(), vitrail::name_of(input.dtype),
                text(input.opt).c_str());
  }
  session.run();
  for (const vitrail::TensorSpec& output : plan.outputs()) {
    const vitrail::TensorView result = session.output(output.name);
    std::printf("out  %s %s %s\n", output.name.c_str(), vitrail::name_of(result.dtype),
                text(result.dims).c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: run_plan model.vitrail\n");
    return static_cast<int>(vitrail::Code::usage);
  }
  try {
    run(argv[1]);
    return 0;
  } catch (const vitrail::Error& error) {
    std::fprintf(stderr, "run_plan: %s\n", error.what());
    return static_cast<int>(error.code);
  }
}
