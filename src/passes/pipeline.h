// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace vitrail::passes {

/// A rewrite of the graph. `run` returns the number of places it changed.
struct Pass {
  const char* name;
  size_t (*run)(ir::Graph& graph);
  bool gpu = false;  ///< for plans of GPUs only: a kernel of theirs alone takes what it makes
};

/// The passes in their order; pipeline.cc says why each stands where it stands.
std::span<const Pass> pipeline();
const Pass* find_pass(std::string_view name);

struct Options {
  /// Passes left out, by name (a fusion that failed its verification, or the user's choice).
  std::vector<std::string> disabled;
  /// Called after each pass that changed something; the graph is verified.
  std::function<void(const Pass&, size_t changes, const ir::Graph&)> observe;
  std::span<const Pass> passes = pipeline();
  /// For a plan of a GPU.
  bool gpu = false;
};
void run(ir::Graph& graph, const Options& options = {});

/// Wraps each remaining node that a family takes alone in a fusion of that family.
size_t outline_singles(ir::Graph& graph);
/// Dissolves a fusion that no kernel takes. The nodes of a body of several are wrapped one by one
/// again; a single one stays a plain op (it runs by its reference).
void dissolve_refused(ir::Graph& graph, ir::NodeId fusion);
/// Replaces a fusion by the nodes of one of its bodies, with the fusions that they allow.
/// `disabled`: as in Options.
void run_separately(ir::Graph& graph, ir::NodeId fusion, size_t body,
                    const std::vector<std::string>& disabled = {});

}  // namespace vitrail::passes
