// SPDX-License-Identifier: Apache-2.0
#include "backends/nvtx.h"

#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"

namespace vitrail::nvtx {
namespace {

// nvtxTypes.h: modules, and the functions of module CORE that are called here.
enum Module : int { kCore = 1, kModules = 7 };
enum CoreFunction : int { kRangePushA = 9, kRangePop = 11, kSlots = 16 };
constexpr uint32_t kCallbacksTable = 1;

using Function = void (*)();
// A tool writes through the table's pointers. It may ask for every module; no function of ours but
// two is ever called.
struct Table {
  std::array<Function, kSlots> functions{};
  std::array<Function*, kSlots + 1> slots{};
};
std::array<Table, kModules> tables;

int module_table(int module, Function*** table, unsigned* size) {
  // CORE, CUDA, OPENCL, CUDART, CORE2, SYNC: their numbers of functions, and one.
  constexpr unsigned kSizes[kModules] = {0, 16, 9, 15, 7, 16, 7};
  if (module < kCore || module >= kModules) return 0;
  Table& t = tables[static_cast<size_t>(module)];
  for (unsigned i = 1; i < kSizes[module]; ++i) t.slots[i] = &t.functions[i];
  if (size) *size = kSizes[module];
  if (table) *table = t.slots.data();
  return 1;
}

struct Callbacks {
  size_t bytes;
  int (*module_table)(int, Function***, unsigned*);
};
constexpr Callbacks kCallbacks{sizeof(Callbacks), module_table};

const void* export_table(uint32_t id) { return id == kCallbacksTable ? &kCallbacks : nullptr; }

bool attach() {
  const char* path = std::getenv("NVTX_INJECTION64_PATH");
  if (!path || !*path) return false;
  void* library = dlopen(path, RTLD_LAZY);
  using Initialize = int (*)(const void* (*)(uint32_t));
  const auto initialize =
      library ? reinterpret_cast<Initialize>(dlsym(library, "InitializeInjectionNvtx2")) : nullptr;
  if (!initialize || initialize(export_table) == 0) {
    log_warning("the profiler's library '{}' (NVTX_INJECTION64_PATH) is not used: {}",
                printable(path),
                !library      ? "it cannot be loaded"
                : !initialize ? "it has no InitializeInjectionNvtx2"
                              : "it refused");
    return false;
  }
  return true;
}

}  // namespace

bool attached() {
  static const bool once = attach();
  return once;
}

Range::Range(const char* name) {
  if (!attached()) return;
  if (const Function push = tables[kCore].functions[kRangePushA])
    reinterpret_cast<int (*)(const char*)>(push)(name);
}
Range::~Range() {
  if (!attached()) return;
  if (const Function pop = tables[kCore].functions[kRangePop]) reinterpret_cast<int (*)()>(pop)();
}

}  // namespace vitrail::nvtx
