// SPDX-License-Identifier: Apache-2.0
// The part of NVRTC's C API that is used is declared here: it has not changed since CUDA 8 and
// loading it at run time needs no header.
#include "compile/nvrtc.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "backends/cuda/shared_library.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"

namespace vitrail {
namespace {
using Handle = struct NvrtcProgram*;
constexpr int kSuccess = 0;

struct Api {
  int (*version)(int*, int*) = nullptr;
  const char* (*error)(int) = nullptr;
  int (*create)(Handle*, const char*, const char*, int, const char* const*,
                const char* const*) = nullptr;
  int (*destroy)(Handle*) = nullptr;
  int (*compile)(Handle, int, const char* const*) = nullptr;
  int (*log_size)(Handle, size_t*) = nullptr;
  int (*log)(Handle, char*) = nullptr;
  int (*cubin_size)(Handle, size_t*) = nullptr;
  int (*cubin)(Handle, char*) = nullptr;
  int major = 0, minor = 0;
  std::string missing;  ///< why it could not be loaded
};

Api load() {
  Api api;
  const cuda::SharedLibrary library =
      cuda::open_library("VITRAIL_NVRTC", {"libnvrtc.so.13", "libnvrtc.so.12"});
  api.missing = library.missing;
  if (!library.handle) return api;
  const bool complete =
      library.find("nvrtcVersion", api.version) && library.find("nvrtcGetErrorString", api.error) &&
      library.find("nvrtcCreateProgram", api.create) &&
      library.find("nvrtcDestroyProgram", api.destroy) &&
      library.find("nvrtcCompileProgram", api.compile) &&
      library.find("nvrtcGetProgramLogSize", api.log_size) &&
      library.find("nvrtcGetProgramLog", api.log) &&
      library.find("nvrtcGetCUBINSize", api.cubin_size) && library.find("nvrtcGetCUBIN", api.cubin);
  if (!complete || api.version(&api.major, &api.minor) != kSuccess) {
    api.missing = "a libnvrtc without the functions of CUDA 11.1 or newer";
    return api;
  }
  api.missing.clear();
  return api;
}
const Api& api() {
  static const Api loaded = load();
  return loaded;
}

// ptxas -v, as in "ptxas info : Function properties for x / 0 bytes stack frame, 0 bytes spill
// stores, .. / Used 40 registers, .. 1024 bytes smem".
std::vector<KernelResources> parse_log(const std::string& log) {
  std::vector<KernelResources> out;
  std::istringstream lines(log);
  std::smatch m;
  static const std::regex entry("Compiling entry function '([^']+)'"),
      stack("(\\d+) bytes stack frame, (\\d+) bytes spill stores"), used("Used (\\d+) registers"),
      shared("(\\d+) bytes smem");
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_search(line, m, entry)) out.push_back({m[1]});
    if (out.empty()) continue;
    KernelResources& r = out.back();
    if (std::regex_search(line, m, stack))
      r.stack_bytes = std::stoi(m[1]), r.spill_bytes = std::stoi(m[2]);
    if (std::regex_search(line, m, used)) r.registers = std::stoi(m[1]);
    if (std::regex_search(line, m, shared)) r.shared_bytes = std::stoi(m[1]);
  }
  return out;
}

Tensor bytes_tensor(const std::string& bytes) {
  Tensor out(DType::u8, {static_cast<int64_t>(bytes.size())});
  std::memcpy(out.mutable_raw(), bytes.data(), bytes.size());
  return out;
}
}  // namespace

bool have_nvrtc(std::string* why) {
  if (why) *why = api().missing;
  return api().missing.empty();
}

std::string nvrtc_version() {
  return api().missing.empty() ? fmt::format("{}.{}", api().major, api().minor) : std::string();
}

std::string default_cache_folder() {
  if (const char* folder = std::getenv("VITRAIL_CACHE"); folder) return folder;
  if (const char* folder = std::getenv("XDG_CACHE_HOME"); folder && *folder)
    return std::string(folder) + "/vitrail";
  if (const char* folder = std::getenv("HOME"); folder && *folder)
    return std::string(folder) + "/.cache/vitrail";
  return {};
}

CompiledCode compile_cuda(const std::string& source, const std::string& architecture,
                          const std::string& cache_folder) {
  const Api& nvrtc = api();
  require(nvrtc.missing.empty(), Code::resource,
          "GPU code cannot be compiled: NVRTC was not found (looked for {}); install CUDA's nvrtc "
          "or name the library in VITRAIL_NVRTC",
          nvrtc.missing);
  const std::string key_text =
      fmt::format("{}\n{}.{}\n{}", architecture, nvrtc.major, nvrtc.minor, source);
  const std::string key =
      xxh3_128({reinterpret_cast<const std::byte*>(key_text.data()), key_text.size()}).str();
  const std::filesystem::path cached = cache_folder.empty()
                                           ? std::filesystem::path()
                                           : std::filesystem::path(cache_folder) / (key + ".cubin");
  if (!cached.empty()) {
    std::ifstream in(cached, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    if (in && bytes.starts_with("\177ELF")) return {bytes_tensor(bytes), {}};
  }
  Handle program = nullptr;
  const auto check = [&](int status, const char* what) {
    require(status == kSuccess, Code::internal, "NVRTC: {}: {}", what, nvrtc.error(status));
  };
  check(nvrtc.create(&program, source.c_str(), "vitrail.cu", 0, nullptr, nullptr), "create");
  struct Guard {
    const Api& api;
    Handle& program;
    ~Guard() { api.destroy(&program); }
  } guard{nvrtc, program};
  const std::string arch = "--gpu-architecture=" + architecture;
  const char* options[] = {arch.c_str(), "--std=c++17", "--ptxas-options=-v",
                           "--extra-device-vectorization"};
  const int status = nvrtc.compile(program, static_cast<int>(std::size(options)), options);
  size_t size = 0;
  check(nvrtc.log_size(program, &size), "log");
  std::string log(size, '\0');
  check(nvrtc.log(program, log.data()), "log");
  require(status == kSuccess, Code::internal,
          "NVRTC does not compile a generated source for {}: {}", architecture,
          printable(log, 4000));
  check(nvrtc.cubin_size(program, &size), "machine code");
  std::string cubin(size, '\0');
  check(nvrtc.cubin(program, cubin.data()), "machine code");
  if (!cached.empty()) {
    // A cache that cannot be written is no reason to fail. Written aside and renamed: others may be
    // reading.
    std::error_code ignored;
    std::filesystem::create_directories(cache_folder, ignored);
    const std::filesystem::path aside = cached.string() + fmt::format(".{}", getpid());
    std::ofstream out(aside, std::ios::binary);
    if (out.write(cubin.data(), static_cast<std::streamsize>(cubin.size())) &&
        (out.close(), out.good()))
      std::filesystem::rename(aside, cached, ignored);
  }
  return {bytes_tensor(cubin), parse_log(log)};
}

}  // namespace vitrail
