// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "plan/plan.h"

namespace vitrail {

/// Shapes of one input the plan shall run: every extent from min to max, tuned for opt.
struct ShapeRange {
  Dims min, opt, max;
};

enum class VerifyLevel : uint8_t { off, fast, full };

struct CompileOptions {
  /// By input name. An input with symbolic extents needs an entry.
  std::map<std::string, ShapeRange> shapes;
  int threads = 0;             ///< 0: one per core
  bool deterministic = false;  ///< fixed summation orders, heuristic tactics only
  bool tune = true;            ///< time kernels; false: heuristic choice
  double budget_seconds = 60;  ///< of tuning
  std::string timing_cache;    ///< path; empty: none
  bool keep_source = true;     ///< store the imported graph to retune from
  /// Passes left out, by name.
  std::vector<std::string> disabled_passes;
};

/// Binds the graph's input symbols to the ranges: symbols with one value become constants, the
/// others get their bounds. Throws Error(usage) that lists the dynamic extents that have no range,
/// with a ready `--shapes` argument. Returns the opt value of every symbol.
Bindings apply_shapes(ir::Graph& graph, const std::map<std::string, ShapeRange>& shapes);

/// Fused graph to plan: layout, kernels, memory. `graph` is changed (refused fusions dissolve);
/// reasons are appended to `account`.
Plan make_plan(ir::Graph& graph, const Bindings& opt, const CompileOptions& options, std::vector<std::string>& account);

/// The whole way from an imported graph: shapes, passes, plan. Does not verify.
Plan compile(const ir::Graph& imported, const CompileOptions& options);

}  // namespace vitrail
