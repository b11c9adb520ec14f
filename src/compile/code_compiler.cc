// SPDX-License-Identifier: Apache-2.0
#include "compile/code_compiler.h"

#include <algorithm>

#include "compile/nvrtc.h"

namespace vitrail {

CodeCompiler::~CodeCompiler() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  more_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void CodeCompiler::start(const std::string& source) {
  const std::lock_guard lock(mutex_);
  const auto [at, fresh] = results_.try_emplace(source);
  if (!fresh) return;
  waiting_.push_back(&at->first);
  if (threads_.size() < std::max(1u, std::thread::hardware_concurrency()))
    threads_.emplace_back([this] { work(); });
  more_.notify_one();
}

Tensor CodeCompiler::get(const std::string& source) {
  start(source);
  std::unique_lock lock(mutex_);
  Result& result = results_.at(source);
  done_.wait(lock, [&] { return result.done; });
  if (result.failure) std::rethrow_exception(result.failure);
  return result.code;
}

void CodeCompiler::only(const std::vector<std::string>& sources) {
  {
    const std::lock_guard lock(mutex_);
    for (const std::string* forgotten : waiting_) results_.erase(results_.find(*forgotten));
    waiting_.clear();
  }
  for (const std::string& source : sources) start(source);
}

void CodeCompiler::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    more_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
    if (ending_) return;
    const std::string& source = *waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    Result result{.code = {}, .failure = {}, .done = true};
    try {
      result.code = compile_cuda(source, architecture_, cache_folder_).cubin;
    } catch (...) {
      result.failure = std::current_exception();
    }
    lock.lock();
    results_.at(source) = std::move(result);
    done_.notify_all();
  }
}

}  // namespace vitrail
