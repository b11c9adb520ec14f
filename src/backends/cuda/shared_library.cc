// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/shared_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <sstream>
#include <vector>

namespace vitrail::cuda {
namespace {
std::vector<std::string> folders() {
  std::vector<std::string> out;
  if (const char* given = std::getenv("VITRAIL_CUDA_PATH"); given && *given) {
    std::istringstream list(given);
    for (std::string folder; std::getline(list, folder, ':');)
      if (!folder.empty()) out.push_back(folder + "/");
  }
  out.insert(out.end(), {"", "/usr/local/cuda/lib64/", "/usr/lib/x86_64-linux-gnu/"});
  return out;
}
}  // namespace

void* SharedLibrary::symbol(const char* name) const {
  return handle ? dlsym(handle, name) : nullptr;
}

SharedLibrary open_library(const char* variable, std::initializer_list<const char*> names) {
  std::vector<std::string> places;
  if (const char* given = std::getenv(variable); given && *given)
    places = {given};
  else
    for (const std::string& folder : folders())
      for (const char* name : names) places.push_back(folder + name);
  SharedLibrary out;
  for (const std::string& place : places) {
    if ((out.handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL))) return out;
    out.missing += (out.missing.empty() ? "" : ", ") + place;
  }
  return out;
}

}  // namespace vitrail::cuda
