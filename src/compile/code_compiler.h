// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/tensor.h"

namespace vitrail {

/// Compiles sources for one architecture in the background, in the order they were asked for and
/// each once, as many at a time as the process has processors. For one thread's use.
class CodeCompiler {
 public:
  CodeCompiler(std::string architecture, std::string cache_folder)
      : architecture_(std::move(architecture)), cache_folder_(std::move(cache_folder)) {}
  ~CodeCompiler();
  CodeCompiler(const CodeCompiler&) = delete;
  CodeCompiler& operator=(const CodeCompiler&) = delete;

  void start(const std::string& source);
  /// The machine code, once it is there. Throws what compile_cuda() threw.
  Tensor get(const std::string& source);
  /// From now on these alone: what else waits is forgotten, these are started.
  void only(const std::vector<std::string>& sources);

 private:
  struct Result {
    Tensor code;
    std::exception_ptr failure;
    bool done = false;
  };
  void work();
  std::string architecture_, cache_folder_;
  std::mutex mutex_;
  std::condition_variable more_, done_;
  std::map<std::string, Result> results_;
  std::deque<const std::string*> waiting_;  // keys of results_
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace vitrail
