// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <initializer_list>
#include <string>

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

}  // namespace vitrail::cuda
