// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <span>
#include <string>
#include <vector>

#include "compile/kernel_set.h"
#include "compile/layout.h"
#include "ir/graph.h"
#include "passes/pipeline.h"
#include "plan/plan.h"
#include "vitrail/builder.h"

namespace vitrail {

struct GpuTarget;
class PackedWeights;

/// Binds the graph's input symbols to the ranges: symbols with one value become constants, the
/// others get their bounds. Throws Error(usage) that lists the dynamic extents that have no range,
/// with a ready `--shapes` argument. Returns the opt value of every symbol.
Bindings apply_shapes(ir::Graph& graph, const std::map<std::string, ShapeRange>& shapes);
/// The smallest ranges that hold all sets, with the opt of the first. Throws Error(usage) when sets
/// name different inputs or ranks.
std::map<std::string, ShapeRange> hull_of(
    const std::vector<std::map<std::string, ShapeRange>>& profiles);
/// The sets of ranges that a plan was built for; empty when there is one.
std::vector<std::map<std::string, ShapeRange>> profiles_of(const Plan& plan);
/// Keeps the sets of ranges apart in the plan's symbols; `imported` is the graph before shapes were
/// applied. Does nothing for fewer than two.
void add_profiles(Plan& plan, const ir::Graph& imported,
                  const std::vector<std::map<std::string, ShapeRange>>& profiles);

/// The ranges that a plan was built for, by input.
std::map<std::string, ShapeRange> ranges_of(const Plan& plan);

/// Fused graph to plan: layout, kernels, memory. `graph` is changed (refused fusions dissolve);
/// reasons are appended to `account`.
/// `gpu`: the target; null: the CPU, with `kernels`. `orders`: axis orders to take where they are
/// legal; `free`: gets those there were to choose between; `packed`: kept over several plans.
Plan make_plan(ir::Graph& graph, const Bindings& opt, const BuildOptions& options,
               const KernelSet& kernels, std::vector<std::string>& account,
               const GpuTarget* gpu = nullptr, const AxisOrders& orders = {},
               std::vector<FreeOrder>* free = nullptr, PackedWeights* packed = nullptr);

/// The whole way from an imported graph: shapes, passes, plan, tuning, verification. Counts and
/// reasons go to `report`. `kernels` (none off) and `passes`: others than those compiled in, for
/// tests. A kernel or pass that makes the plan differ from the reference is switched off and named,
/// and the plan made again without it. Throws Error(accuracy) when that does not help.
Plan build_plan(const ir::Graph& imported, const BuildOptions& options, BuildReport& report,
                const KernelSet& kernels = {},
                std::span<const passes::Pass> passes = passes::pipeline());

}  // namespace vitrail
