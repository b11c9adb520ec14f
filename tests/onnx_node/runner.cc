// SPDX-License-Identifier: Apache-2.0
// Runs ONNX's node tests through importer and oracle, or with --plan through a plan made in memory.
// Usage: vitrail_node_runner [--plan] LIST
//
// LIST holds one test a line: name, rtol, atol and folder, separated by tabs. The folder has
// model.onnx, input_<set>_<i>.pb and output_<set>_<i>.pb (TensorProto). For each test a line comes
// out: name, passed | failed | unsupported, reason.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "compile/compile.h"
#include "import/onnx_import.h"
#include "import/onnx_tensor.h"
#include "onnx/onnx-ml.pb.h"
#include "oracle/oracle.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {
struct Test {
  std::string name, folder;
  bool plan = false;
  double rtol = 0, atol = 0;
};

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  require(in.good(), Code::io, "cannot read '{}'", path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}
using Protos = std::vector<onnx::TensorProto>;
Protos read_protos(const Test& test, const char* what, int set) {
  Protos out;
  for (;;) {
    const std::string path = fmt::format("{}/{}_{}_{}.pb", test.folder, what, set, out.size());
    if (!std::filesystem::exists(path)) return out;
    out.emplace_back();
    require(out.back().ParseFromString(read_all(path)), Code::bad_input, "cannot parse '{}'", path);
  }
}
std::vector<Tensor> to_tensors(const Protos& protos) {
  TensorReader reader("");
  std::vector<Tensor> out;
  for (onnx::TensorProto proto : protos) out.push_back(reader.read(proto));
  return out;
}

// Inputs that a shape depends on (Reshape's target, axes) are graph inputs in these tests,
// constants in models. Makes those from `first` on constants of the model.
void freeze_inputs(onnx::ModelProto& model, const Protos& inputs, size_t first) {
  onnx::GraphProto& graph = *model.mutable_graph();
  require(static_cast<size_t>(graph.input_size()) == inputs.size(), Code::unsupported,
          "{} inputs for a graph with {}", inputs.size(), graph.input_size());
  for (size_t i = inputs.size(); i-- > first; graph.mutable_input()->RemoveLast()) {
    onnx::TensorProto& constant = *graph.add_initializer();
    constant = inputs[i];
    constant.set_name(graph.input(static_cast<int>(i)).name());
  }
}

// Empty when the tensors agree by numpy's assert_allclose and in type and shape.
std::string difference(const Tensor& found, DType found_type, const Tensor& expected,
                       const Test& test) {
  if (found_type != expected.dtype())
    return fmt::format("type {} instead of {}", name_of(found_type), name_of(expected.dtype()));
  if (found.dims() != expected.dims())
    return fmt::format("shape {} instead of {}", to_string(found.dims()),
                       to_string(expected.dims()));
  for (int64_t i = 0; i < expected.size(); ++i) {
    const double a = found.number_at(i), b = expected.number_at(i);
    const bool equal = a == b || (std::isnan(a) && std::isnan(b)) ||
                       (std::isfinite(a) && std::isfinite(b) &&
                        std::fabs(a - b) <= test.atol + test.rtol * std::fabs(b));
    if (!equal)
      return fmt::format("element {} of {} is {} instead of {}", i, expected.size(), a, b);
  }
  return {};
}

// The outputs of the compiled plan. Memory that nothing wrote is NaN.
std::vector<Tensor> run_plan(const ir::Graph& graph, const std::vector<Tensor>& inputs) {
  BuildOptions options{.tune = false, .verify = VerifyLevel::off};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Dims& dims = inputs[i].dims();
    if (!is_static(graph.value(graph.inputs[i]).shape))
      options.shapes[graph.value(graph.inputs[i]).name] = {dims, dims, dims};
  }
  BuildReport report;
  Executor executor(std::make_shared<const Plan>(build_plan(graph, options, report)),
                    {.threads = 1, .poison = true});
  for (size_t i = 0; i < inputs.size(); ++i) executor.set_input(i, inputs[i]);
  executor.run();
  std::vector<Tensor> out;
  for (size_t i = 0; i < graph.outputs.size(); ++i) out.push_back(executor.output(i));
  return out;
}

// `constant_from`: index of the first input that becomes a constant.
std::string run_set(const Test& test, const Protos& inputs, const Protos& outputs,
                    size_t constant_from) {
  onnx::ModelProto model;
  require(model.ParseFromString(read_all(test.folder + "/model.onnx")), Code::bad_input,
          "cannot parse the model");
  freeze_inputs(model, inputs, constant_from);
  const std::string bytes = model.SerializeAsString();
  const ir::Graph graph = import_onnx_bytes(as_bytes(bytes));
  const auto given = to_tensors(
      Protos(inputs.begin(),
             inputs.begin() + static_cast<std::ptrdiff_t>(std::min(constant_from, inputs.size()))));
  const auto results = test.plan ? run_plan(graph, given) : oracle::run(graph, given);
  const auto expected = to_tensors(outputs);
  if (results.size() != expected.size())
    return fmt::format("{} outputs instead of {}", results.size(), expected.size());
  for (size_t i = 0; i < results.size(); ++i) {
    const std::string why =
        difference(results[i], graph.value(graph.outputs[i]).dtype, expected[i], test);
    if (!why.empty()) return fmt::format("output {}: {}", i, why);
  }
  return {};
}

struct Verdict {
  const char* word;
  std::string reason;
};
Verdict judge(const Test& test) {
  const auto with = [&](int set, size_t constant_from) -> Verdict {
    try {
      const std::string why = run_set(test, read_protos(test, "input", set),
                                      read_protos(test, "output", set), constant_from);
      return why.empty() ? Verdict{"passed", ""} : Verdict{"failed", why};
    } catch (const Error& error) {
      return {error.code == Code::unsupported ? "unsupported" : "failed", error.what()};
    }
  };
  for (int set = 0;
       set == 0 || std::filesystem::exists(fmt::format("{}/output_{}_0.pb", test.folder, set));
       ++set) {
    // All inputs dynamic if that works, then all but the first, then none.
    Verdict verdict = with(set, SIZE_MAX);
    for (size_t constant_from : {size_t{1}, size_t{0}})
      if (std::string_view(verdict.word) == "unsupported") verdict = with(set, constant_from);
    if (std::string_view(verdict.word) != "passed") return verdict;
  }
  return {"passed", ""};
}

int main_of(const char* list, bool plan) {
  std::ifstream lines(list);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    Test test;
    test.plan = plan;
    fields >> test.name >> test.rtol >> test.atol;
    std::getline(fields >> std::ws, test.folder);
    const Verdict verdict = judge(test);
    std::string reason = verdict.reason;
    for (char& c : reason)
      if (c == '\n' || c == '\t') c = ' ';
    std::printf("%s\t%s\t%s\n", test.name.c_str(), verdict.word, reason.c_str());
    std::fflush(stdout);  // what is printed stays known if the next test ends the process
  }
  return 0;
}
}  // namespace
}  // namespace vitrail

int main(int argc, char** argv) {
  const bool plan = argc == 3 && std::string_view(argv[1]) == "--plan";
  if (argc != 2 && !plan) {
    std::fprintf(stderr, "usage: %s [--plan] LIST\n", argv[0]);
    return 2;
  }
  return vitrail::main_of(argv[argc - 1], plan);
}
