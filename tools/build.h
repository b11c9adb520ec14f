// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "tools/cli.h"

namespace vitrail::cli {

/// What the command line says of a build, wherever the graph comes from.
struct BuildArguments {
  std::string output, verify;
  std::vector<std::string> shapes, min_shapes, opt_shapes, max_shapes;
  std::string io, input_io, output_io;
  bool quiet = false, as_always = false, fp16 = false, bf16 = false, no_tf32 = false;
  BuildOptions build;
};

/// Adds the options of a build to a subcommand; `arguments` outlives the parsing.
void add_build_options(CLI::App* subcommand, BuildArguments* arguments);
/// Throws Error(usage) when no output is named.
void require_output(const BuildArguments& arguments);
/// Builds the plan and prints the account.
void build_plan(const Graph& graph, BuildArguments& arguments);

}  // namespace vitrail::cli
