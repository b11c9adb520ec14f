// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/host_trial.h"

#include <dlfcn.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "kernels/trial.h"
#include "tests/gpu/host_text.h"
#include "tests/gpu/limits.h"

namespace vitrail {
namespace {
namespace fs = std::filesystem;

constexpr size_t kAlign = 256;
// Results of a child begin with one of these.
constexpr const char *kWrong = "wrong: ", *kSkipped = "skipped: ";

// As in emulation.h.
struct Shape {
  unsigned grid[3], threads, shared_bytes, cluster;
  unsigned long long seed;
};
using Emulate = const char*(int, const Shape*, const unsigned long long*);

std::string content(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

// Memory as a device gives it: from a multiple of 256 on.
struct Place {
  std::vector<std::byte> storage;
  std::byte* start;
  Place(size_t bytes, int value) : storage(bytes + 2 * kAlign, static_cast<std::byte>(value)) {
    const auto at = reinterpret_cast<uintptr_t>(storage.data());
    start = storage.data() + (kAlign - at % kAlign) % kAlign;
  }
};

// One run of all launches; what is wrong, or nothing.
std::string run_once(const HostCase& c, const GpuCode& code, Emulate* emulate, Trial& trial,
                     uint64_t seed) {
  trial.reset_outputs();
  std::vector<Place> places;
  std::vector<Trial::Region> regions;
  std::vector<unsigned long long> parameters;
  for (size_t i = 0; i < c.problem.inputs.size(); ++i) regions.push_back(trial.input_region(i));
  for (size_t i = 0; i < c.problem.outputs.size(); ++i) regions.push_back(trial.output_region(i));
  const auto address = [](const std::byte* p) { return reinterpret_cast<uint64_t>(p); };
  for (const Trial::Region& region : regions) {
    Place& at = places.emplace_back(region.bytes, 0xff);
    if (aligned(c.problem))
      at.start += (kAlign - static_cast<size_t>(region.first) % kAlign) % kAlign;
    std::copy_n(region.data, region.bytes, at.start);
    parameters.push_back(address(at.start + region.first));
  }
  Place workspace(static_cast<size_t>(code.workspace_bytes.eval(c.symbols)), 0xff);
  const auto counted = static_cast<size_t>(4 * code.counters.eval(c.symbols));
  Place counters(counted, 0);
  parameters.push_back(address(workspace.start));
  parameters.push_back(address(counters.start));
  for (size_t l = 0; l < code.launches.size(); ++l) {
    const GpuLaunch& launch = code.launches[l];
    std::vector<unsigned long long> all = parameters;
    for (const Expr& e : launch.numbers) all.push_back(static_cast<uint64_t>(e.eval(c.symbols)));
    Shape shape{{},
                static_cast<unsigned>(launch.threads),
                static_cast<unsigned>(launch.shared_bytes),
                static_cast<unsigned>(launch.cluster),
                seed};
    for (int axis = 0; axis < 3; ++axis)
      shape.grid[axis] = static_cast<unsigned>(launch.grid[axis].eval(c.symbols));
    if (shape.grid[0] == 0 || shape.grid[1] == 0 || shape.grid[2] == 0) continue;
    if (const char* why = emulate(static_cast<int>(l), &shape, all.data()))
      return fmt::format("launch {}: {}", l, why);
  }
  if (std::any_of(counters.start, counters.start + counted,
                  [](std::byte b) { return b != std::byte{0}; }))
    return "left counters that are not zero";
  for (size_t i = 0; i < regions.size(); ++i)
    std::copy_n(places[i].start, regions[i].bytes, regions[i].data);
  return trial.damaged_bytes() ? "wrote outside its outputs" : "";
}

}  // namespace

std::string HostCase::str() const {
  std::string at;
  for (const auto& [name, value] : symbols) at += fmt::format(" {}={}", name, value);
  return fmt::format("{} for {} {{{}}}{} seed {}: {}", kernel->name, machine.architecture(),
                     to_string(tactic), at, seed, problem.str());
}

HostTrials::HostTrials() {
  std::string name = (fs::temp_directory_path() / "vitrail-emulation-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    error_ = "no temporary folder";
    return;
  }
  folder_ = name;
  for (const char* header : {"emulation.h", "emulation_ptx.h"})
    fs::copy_file(fs::path("tests/gpu") / header, folder_ / header);
  instructions_ = content(folder_ / "emulation_ptx.h");
  const char* cxx = std::getenv("CXX");
  // The checks call functions of emulation.h instead of their library's.
  compiler_ = fmt::format(
      "{} -std=c++20 -O1 -march=native -w -fpermissive -fPIC -fno-strict-aliasing "
      "-fsanitize=alignment,bounds",
      cxx && *cxx ? cxx : "c++");
  const fs::path header = folder_ / "emulation_ptx.h", log = folder_ / "header.log";
  if (std::system(fmt::format("{} -x c++-header {} -o {}.gch 2> {}", compiler_, header.string(),
                              header.string(), log.string())
                      .c_str()) != 0)
    error_ = "no compiler for the host: " + content(log).substr(0, 300);
}

HostTrials::~HostTrials() {
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

std::string HostTrials::run(const HostCase& c, const std::string& stem) const {
  const GpuCode code = c.kernel->generate(c.problem, c.tactic, c.machine);
  const HostText host = host_text(code, c.machine);
  for (const std::string& f : host.functions)
    if (instructions_.find(" " + f + "(") == std::string::npos &&
        instructions_.find("(" + f + ",") == std::string::npos)
      return kSkipped + f + " is not emulated";
  std::ofstream(stem + ".cc") << host.text;
  if (std::system(fmt::format("{0} -I {2} -c {1}.cc -o {1}.o 2> {1}.log && {3} -shared {1}.o -o "
                              "{1}.so 2>> {1}.log",
                              compiler_, stem, folder_.string(),
                              compiler_.substr(0, compiler_.find(' ')))
                      .c_str()) != 0)
    return kWrong + ("does not compile: " + content(stem + ".log").substr(0, 1000));
  void* library = ::dlopen((stem + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return kWrong + std::string(::dlerror());
  auto* emulate = reinterpret_cast<Emulate*>(::dlsym(library, "vt_emulate"));

  const BoundProblem bound = vitrail::bind(c.problem, c.symbols);
  const KernelFamily& family = *find_family(c.kernel->family);
  Trial trial([&](const Problem& p, size_t i,
                  const Tensor& dense) { return gpu_pack(*c.kernel, p, i, dense); },
              bound, c.seed);
  std::vector<Tensor> expected = trial.empty_outputs();
  family.reference(bound, trial.dense_inputs(), expected);
  // Both ways of asynchronous effects, with both orders of blocks and threads.
  for (uint64_t s = 0; s < 4; ++s) {
    const std::string how = fmt::format(" ({} order, asynchronous effects {})",
                                        s / 2 ? "backward" : "forward", s % 2 ? "late" : "at once");
    if (std::string why = run_once(c, code, emulate, trial, c.seed / 4 * 4 + s); !why.empty())
      return kWrong + why + how;
    const std::vector<Tensor> got = trial.outputs();
    for (size_t i = 0; i < got.size(); ++i)
      if (std::string why = compare(got[i], expected[i], allowed(family, bound, got[i].dtype()));
          !why.empty())
        return kWrong + fmt::format("output {}: {}", i, why) + how;
  }
  return {};
}

std::vector<HostTrials::Result> HostTrials::run(const std::vector<HostCase>& cases) const {
  std::vector<Result> out(cases.size());
  std::map<pid_t, size_t> running;
  size_t next = 0;
  while (next < cases.size() || !running.empty()) {
    if (next < cases.size() && running.size() < std::max(1u, std::thread::hardware_concurrency())) {
      const std::string stem = (folder_ / fmt::format("case{}", next)).string();
      const pid_t child = ::fork();
      if (child == 0) {
        constexpr unsigned kMostSeconds = 120;
        ::alarm(kMostSeconds);
        std::string result;
        try {
          result = run(cases[next], stem);
        } catch (const Error& e) {
          result = kWrong + std::string(e.what());
        }
        std::ofstream(stem + ".txt") << result;
        ::_exit(0);
      }
      running[child] = next++;
      continue;
    }
    int status = 0;
    const pid_t child = ::wait(&status);
    const size_t index = running.at(child);
    running.erase(child);
    const std::string stem = (folder_ / fmt::format("case{}", index)).string();
    const std::string result = content(stem + ".txt");
    if (!WIFEXITED(status))
      out[index].wrong = fmt::format("ended by signal {}", WTERMSIG(status));
    else if (result.rfind(kWrong, 0) == 0)
      out[index].wrong = result.substr(std::string(kWrong).size());
    else if (result.rfind(kSkipped, 0) == 0)
      out[index].skipped = result.substr(std::string(kSkipped).size());
    for (const char* end : {".cc", ".o", ".so", ".log", ".txt"}) fs::remove(stem + end);
  }
  return out;
}

}  // namespace vitrail
