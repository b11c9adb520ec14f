// SPDX-License-Identifier: Apache-2.0
// A profiler's library for nvtx_test.cc: keeps the ranges it is told of.
#include <cstdint>
#include <string>

static std::string told;

extern "C" __attribute__((visibility("default"))) const char* ranges_told();
const char* ranges_told() { return told.c_str(); }

static int push(const char* name) {
  told += std::string(name) + "(";
  return 0;
}
static int pop() {
  told += ")";
  return 0;
}

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(
    const void* (*export_table)(uint32_t));
int InitializeInjectionNvtx2(const void* (*export_table)(uint32_t)) {
  struct Callbacks {
    size_t bytes;
    int (*module_table)(int, void (****)(), unsigned*);
  };
  const auto* callbacks = static_cast<const Callbacks*>(export_table(1));
  if (!callbacks || callbacks->bytes < sizeof(Callbacks)) return 0;
  void (***table)() = nullptr;
  unsigned size = 0;
  // As real tools do: every module is asked for, the slots are pointers to write through.
  for (int module = 1; module <= 6; ++module)
    if (!callbacks->module_table(module, &table, &size) || !table) return 0;
  if (!callbacks->module_table(1, &table, &size) || size != 16) return 0;
  *table[9] = reinterpret_cast<void (*)()>(push);
  *table[11] = reinterpret_cast<void (*)()>(pop);
  return 1;
}
