// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "vitrail/builder.h"
#include "vitrail/session.h"

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
void add_trace(CLI::App& app);

/// "input:1..4..16x3x224x224", "input:1x3x224x224", "input:[1,3,224,224]": (name, range). Throws
/// Error(usage) that shows the form.
std::pair<std::string, ShapeRange> parse_shape(const std::string& text);
/// Several of them; commas outside brackets separate inputs of one argument. An input that comes
/// again begins a further set of ranges; inputs that come less often keep their last.
std::vector<std::map<std::string, ShapeRange>> parse_profiles(
    const std::vector<std::string>& arguments);
/// The same where only one set makes sense.
std::map<std::string, ShapeRange> parse_shapes(const std::vector<std::string>& arguments);
/// "HxW"; throws Error(usage).
std::pair<int64_t, int64_t> parse_size(const std::string& text);
/// --device cpu|cuda|cuda:N, and trtexec's bare number.
void add_device(CLI::App& app, std::string& device);
/// By its first bytes; by its name when it cannot be read.
bool is_plan(const std::string& path);
/// A plan of the model that leaves no file behind; not verified, not tuned.
LoadedPlan build_in_memory(const Graph& model, const std::map<std::string, ShapeRange>& shapes,
                           int threads);
/// The shapes of `inputs` for those that have none yet, so that a model can be built for them.
void add_shapes(const NamedTensors& inputs, std::map<std::string, ShapeRange>& shapes);
/// Makes the range of an input reach to `dims`, too.
void widen(std::map<std::string, ShapeRange>& shapes, const std::string& input, const Dims& dims);
/// Tensors in float32 or narrower in the types in which the plan takes its inputs; others, and
/// names that the plan does not have, as they are.
NamedTensors as_taken(const LoadedPlan& plan, NamedTensors tensors);
/// A dense copy of a session's output.
Tensor copy_of(const TensorView& view);
/// "1x3x224x224"
std::string dims_text(std::span<const int64_t> dims);

/// A folder for files that nobody else shall see; goes with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string at(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace vitrail::cli
