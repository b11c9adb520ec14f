// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "kernels/kernel.h"
#include "plan/plan.h"
#include "vitrail/builder.h"

namespace vitrail {

struct GpuTarget;

/// Binds the graph's input symbols to the ranges: symbols with one value become constants, the
/// others get their bounds. Throws Error(usage) that lists the dynamic extents that have no range,
/// with a ready `--shapes` argument. Returns the opt value of every symbol.
Bindings apply_shapes(ir::Graph& graph, const std::map<std::string, ShapeRange>& shapes);

/// Fused graph to plan: layout, kernels, memory. `graph` is changed (refused fusions dissolve);
/// reasons are appended to `account`.
/// `gpu`: the target; null: the CPU.
Plan make_plan(ir::Graph& graph, const Bindings& opt, const BuildOptions& options, std::vector<std::string>& account,
               const GpuTarget* gpu = nullptr);

/// The whole way from an imported graph: shapes, passes, plan, tuning, verification. Counts and
/// reasons go to `report`. `kernels`: other than those compiled in, for tests.
/// Throws Error(accuracy) when the plan differs from the reference.
Plan build_plan(const ir::Graph& imported, const BuildOptions& options, BuildReport& report,
                std::span<const CpuKernel* const> kernels = all_cpu_kernels());

/// Runs the plan against the oracle on `imported`, as `options.verify` asks; appends to report and
/// plan. Returns whether every row passed.
bool verify_plan(const ir::Graph& imported, Plan& plan, const BuildOptions& options, BuildReport& report);

}  // namespace vitrail
