// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/tensor.h"
#include "ir/graph.h"

namespace vitrail {

/// Results of references that took long, kept in a folder over builds of one model: they are most
/// of what a build with a warm timing cache would do. A result is found again by the digest of all
/// that made it: the sources of everything that computes references, the graph with its constants,
/// the inputs and `how` (a rounding). So what an older engine said is never taken for what this one
/// says. A folder that cannot be written, and damaged files, cost time only.
class ReferenceCache {
 public:
  /// `folder`: empty keeps nothing.
  explicit ReferenceCache(std::string folder) : folder_(std::move(folder)) {}

  /// What `run` gives, or what it gave before.
  std::vector<Tensor> get(const ir::Graph& graph, const std::vector<Tensor>& inputs,
                          const std::string& how, const std::function<std::vector<Tensor>()>& run);

 private:
  std::string file_of(const ir::Graph& graph, const std::vector<Tensor>& inputs,
                      const std::string& how);
  std::string folder_;
  const ir::Graph* graph_ = nullptr;  // whose text is
  std::string text_;
};

}  // namespace vitrail
