// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <initializer_list>
#include <string>

#include "base/gpu.h"

namespace vitrail::cuda {

/// A shared library of the toolkit's, loaded for the rest of the process.
struct SharedLibrary {
  void* handle = nullptr;  ///< null: not found
  std::string missing;     ///< then: the places looked in

  template <typename F>
  bool find(const char* name, F& to) const {
    to = reinterpret_cast<F>(symbol(name));
    return to != nullptr;
  }

 private:
  void* symbol(const char* name) const;
};

/// The file that the environment's `variable` names, if it is set; else the first of `names` in the
/// folders of VITRAIL_CUDA_PATH (separated by colons), where the system's loader looks, and in the
/// usual folders of the toolkit.
SharedLibrary open_library(const char* variable, std::initializer_list<const char*> names);

/// Finds the functions of a library that plans may call, and says why it cannot be called when the
/// file or one of them is missing.
class Functions {
 public:
  /// `name`: as users know it. `wanted`: the version that has all functions.
  Functions(const SharedLibrary& file, const std::string& name, const std::string& wanted)
      : file_(file), name_(name), wanted_(wanted) {
    if (!file_.handle) missing_ = name_ + " was not found (looked for " + file_.missing + ")";
  }
  template <typename F>
  void find(const char* function, F& to) {
    if (!file_.find(function, to) && missing_.empty())
      missing_ = name_ + " has no function '" + function + "': " + wanted_ + " is needed";
  }
  /// `version`: the function that tells it.
  template <typename F>
  GpuLibrary library(F version) const {
    return {missing_.empty() ? static_cast<int64_t>(version()) : 0, missing_};
  }

 private:
  SharedLibrary file_;
  std::string name_, wanted_, missing_;
};

}  // namespace vitrail::cuda
