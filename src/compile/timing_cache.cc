// SPDX-License-Identifier: Apache-2.0
#include "compile/timing_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "kernels/revision.h"

namespace vitrail {
namespace {

using Json = nlohmann::json;
constexpr int kVersion = 1;
constexpr size_t kMostBytes = size_t{64} << 20;

Json to_json(const Timing& t) {
  Json tried = Json::array();
  for (const TimedCandidate& c : t.candidates)
    tried.push_back({{"kernel", c.kernel}, {"tactic", c.tactic}, {"us", c.microseconds}});
  Json out{{"tried", std::move(tried)}, {"winner", t.winner}};
  if (!t.unstable.empty()) out["unstable"] = t.unstable;
  return out;
}

Timing timing_from(const Json& json) {
  Timing out;
  for (const Json& c : json.at("tried"))
    out.candidates.push_back({c.at("kernel").get<std::string>(), c.at("tactic").get<Tactic>(),
                              c.at("us").get<double>()});
  out.winner = json.at("winner").get<size_t>();
  out.unstable = json.value("unstable", "");
  require(out.winner < out.candidates.size(), Code::bad_input, "winner {} of {}", out.winner,
          out.candidates.size());
  return out;
}

// An exclusive lock on a file beside the cache, which itself is replaced at each save.
class FileLock {
 public:
  explicit FileLock(const std::string& path)
      : descriptor_(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666)) {
    require(descriptor_ >= 0 && flock(descriptor_, LOCK_EX) == 0, Code::io, "cannot lock '{}': {}",
            printable(path), std::strerror(errno));
  }
  ~FileLock() { close(descriptor_); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace

std::string timing_key(const Machine& machine, int workers) {
  return fmt::format("{}, {}, {}/{}/{} KiB, {} threads, kernels {}", machine.model,
                     name_of(machine.isa), machine.l1_bytes >> 10, machine.l2_bytes >> 10,
                     machine.l3_bytes >> 10, workers, kernel_revision());
}

TimingCache::TimingCache(std::string path, std::string key)
    : path_(std::move(path)), key_(std::move(key)) {
  if (path_.empty()) return;
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  std::error_code ignored;
  require(folder.empty() || std::filesystem::is_directory(folder, ignored), Code::io,
          "timing cache '{}': its folder does not exist; make it first or name another file",
          printable(path_));
  require(!std::filesystem::is_directory(path_, ignored), Code::usage,
          "timing cache '{}' is a folder; name a file", printable(path_));
  auto all = read();
  entries_ = std::move(all[key_]);
}

std::map<std::string, TimingCache::Entries> TimingCache::read() const {
  std::map<std::string, Entries> out;
  std::error_code ignored;
  if (!std::filesystem::exists(path_, ignored)) return out;
  try {
    const std::string text = read_file(path_, kMostBytes);
    const Json json = Json::parse(text);
    require(json.at("vitrail_timing_cache").get<int>() == kVersion, Code::bad_input,
            "version {}, expected {}", json.at("vitrail_timing_cache").dump(), kVersion);
    for (const auto& [machine, problems] : json.at("machines").items())
      for (const auto& [problem, timing] : problems.items())
        out[machine][problem] = timing_from(timing);
  } catch (const std::exception& error) {
    log_warning("timing cache '{}' is ignored and will be written anew: {}", printable(path_),
                printable(error.what(), 300));
    out.clear();
  }
  return out;
}

const Timing* TimingCache::find(const std::string& problem) const {
  const auto found = entries_.find(problem);
  return found == entries_.end() ? nullptr : &found->second;
}

void TimingCache::add(const std::string& problem, Timing timing) {
  entries_[problem] = timing;
  added_[problem] = std::move(timing);
}

void TimingCache::save() {
  if (path_.empty() || added_.empty()) return;
  try {
    const FileLock lock(path_ + ".lock");
    auto all = read();  // what other builds added since
    for (auto& [problem, timing] : added_) all[key_][problem] = timing;
    Json machines = Json::object();
    for (const auto& [machine, problems] : all)
      for (const auto& [problem, timing] : problems) machines[machine][problem] = to_json(timing);
    AtomicFile file(path_);
    file.write(Json{{"vitrail_timing_cache", kVersion}, {"machines", std::move(machines)}}.dump(
                   1, ' ', false, Json::error_handler_t::replace) +
               "\n");
    file.commit();
    added_.clear();
  } catch (const Error& error) {
    log_warning("timings are not kept: {}", error.what());
  }
}

}  // namespace vitrail
