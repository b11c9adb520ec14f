// SPDX-License-Identifier: Apache-2.0
// vitrail inspect model.onnx|model.vitrail
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include "tools/cli.h"
#include "vitrail/check.h"

namespace vitrail::cli {

void add_inspect(CLI::App& app) {
  struct Options {
    std::string model;
    InspectOptions inspect;
  };
  auto o = std::make_shared<Options>();
  CLI::App* inspect = app.add_subcommand("inspect", "what a plan or an ONNX model consists of");
  inspect->add_option("model", o->model, "plan or ONNX file")->required();
  inspect->add_flag("--json", o->inspect.json, "machine-readable");
  inspect->add_flag("--why", o->inspect.why, "why other kernels were refused");
  inspect->callback([o] { fmt::print("{}", vitrail::inspect(o->model, o->inspect)); });
}

}  // namespace vitrail::cli
