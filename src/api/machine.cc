// SPDX-License-Identifier: Apache-2.0
// What a machine can do, measured once and kept.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "backends/cuda/speed.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "runtime/cpu_speed.h"
#include "vitrail/trace.h"

namespace vitrail {
namespace {
using Json = nlohmann::json;
constexpr int kVersion = 1;
constexpr size_t kMostBytes = size_t{1} << 20;

Json to_json(const MachineSpeed& m) {
  return {{"name", m.name},           {"memory_gbs", m.memory_gbs},
          {"cache_gbs", m.cache_gbs}, {"cache_bytes", m.cache_bytes},
          {"launch_us", m.launch_us}, {"gflops", m.gflops}};
}
MachineSpeed speed_from(const Json& j) {
  MachineSpeed out;
  out.name = j.at("name").get<std::string>();
  out.memory_gbs = j.at("memory_gbs").get<double>();
  out.cache_gbs = j.at("cache_gbs").get<double>();
  out.cache_bytes = j.at("cache_bytes").get<double>();
  out.launch_us = j.at("launch_us").get<double>();
  out.gflops = j.at("gflops").get<std::map<std::string, double>>();
  return out;
}

std::map<std::string, MachineSpeed> read_all(const std::string& path) {
  std::map<std::string, MachineSpeed> out;
  std::error_code ignored;
  if (path.empty() || !std::filesystem::exists(path, ignored)) return out;
  try {
    const Json json = Json::parse(read_file(path, kMostBytes));
    require(json.at("vitrail_machines").get<int>() == kVersion, Code::bad_input, "another version");
    for (const auto& [key, machine] : json.at("machines").items()) out[key] = speed_from(machine);
  } catch (const std::exception& error) {
    log_warning("'{}' is ignored, the machine is measured again: {}", printable(path),
                printable(error.what(), 300));
    out.clear();
  }
  return out;
}

void write_all(const std::string& path, const std::map<std::string, MachineSpeed>& all) {
  if (path.empty()) return;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    Json machines = Json::object();
    for (const auto& [key, machine] : all) machines[key] = to_json(machine);
    AtomicFile file(path);
    file.write(Json{{"vitrail_machines", kVersion}, {"machines", std::move(machines)}}.dump(
                   1, ' ', false, Json::error_handler_t::replace) +
               "\n");
    file.commit();
  } catch (const Error& error) {
    log_warning("what this machine can do is not kept: {}", error.what());
  }
}

MachineSpeed measure_gpu(const std::shared_ptr<cuda::Device>& device) {
  const cuda::Speed speed = cuda::measure_speed(device);
  return {device->machine().model, speed.memory_gbs,
          speed.cache_gbs,         static_cast<double>(device->machine().l2_bytes),
          speed.launch_us,         speed.gflops};
}

}  // namespace

MachineSpeed measure_machine(const MachineOptions& options) {
  const std::string path =
      options.cache_folder.empty() ? "" : options.cache_folder + "/machine.json";
  auto all = read_all(path);
  const auto known = [&](const std::string& key, const auto& measure) {
    const auto found = all.find(key);
    if (found != all.end() && !options.again) return found->second;
    const MachineSpeed speed = all[key] = measure();
    write_all(path, all);
    return speed;
  };
  if (options.device == "cpu") {
    const Machine& machine = this_machine();
    const int workers = options.threads > 0 ? options.threads : machine.cores;
    return known(fmt::format("{}, {}, {} threads", machine.model, name_of(machine.isa), workers),
                 [&] { return measure_cpu(workers); });
  }
  const auto device = cuda::Device::open(cuda::device_number(options.device));
  return known(fmt::format("{}, {} multiprocessors, driver {}", device->machine().model,
                           device->machine().multiprocessors, device->driver_version()),
               [&] { return measure_gpu(device); });
}

}  // namespace vitrail
