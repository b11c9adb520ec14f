// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "vitrail/builder.h"

namespace CLI {
class App;
}

// What the subcommands share. Each lives in a file of its own and adds itself to the program.
namespace vitrail::cli {

void add_zoo(CLI::App& app);
void add_build(CLI::App& app);
void add_run(CLI::App& app);
void add_bench(CLI::App& app);
void add_compare(CLI::App& app);
void add_inspect(CLI::App& app);

/// "input:1..4..16x3x224x224", "input:1x3x224x224", "input:[1,3,224,224]": (name, range). Throws
/// Error(usage) that shows the form.
std::pair<std::string, ShapeRange> parse_shape(const std::string& text);
/// Several of them; commas outside brackets separate inputs of one argument.
std::map<std::string, ShapeRange> parse_shapes(const std::vector<std::string>& arguments);
/// "HxW"; throws Error(usage).
std::pair<int64_t, int64_t> parse_size(const std::string& text);
bool is_plan(const std::string& path);
/// A model as a plan: the file itself, or a plan built from ONNX in a temporary folder, which the
/// object removes.
class PlanPath {
 public:
  PlanPath(const std::string& model, const std::map<std::string, ShapeRange>& shapes, int threads);
  ~PlanPath();
  const std::string& path() const { return path_; }

 private:
  std::string path_, folder_;
};

}  // namespace vitrail::cli
