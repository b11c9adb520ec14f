// SPDX-License-Identifier: Apache-2.0
// vitrail zoo list | export
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "tools/cli.h"
#include "zoo/zoo.h"

namespace vitrail::cli {
namespace {

struct Export {
  std::string model, weights = "deterministic", output, size;
  int opset = 18;
  int64_t batch = 0;
};

void list() {
  for (const zoo::Model& m : zoo::models())
    fmt::print("{:14} {:6} {}x{}{}  {}\n", m.name, m.family, m.height, m.width, m.dynamic_size ? " (any)" : "", m.description);
}

void run_export(const Export& o) {
  zoo::InputSize size{.batch = o.batch};
  if (!o.size.empty()) std::tie(size.height, size.width) = parse_size(o.size);
  const zoo::Weights weights = o.weights == "deterministic" ? zoo::Weights::deterministic() : zoo::Weights::from_file(o.weights);
  const Graph graph = zoo::define(o.model, weights, size);
  graph.export_onnx(o.output, {.opset = o.opset});
  fmt::print("wrote {}: {} nodes, weights {:.1f} MiB, opset {}{}\n", o.output, graph.node_count(), static_cast<double>(graph.weight_bytes()) / 1048576.0,
             o.opset, weights.is_deterministic() ? "; the weights are made from the parameters' names and mean nothing" : "");
}

}  // namespace

void add_zoo(CLI::App& app) {
  CLI::App* zoo = app.add_subcommand("zoo", "models of the zoo: list them, write them as ONNX");
  zoo->require_subcommand(1);
  zoo->add_subcommand("list", "names, sizes and sources")->callback(list);
  auto o = std::make_shared<Export>();
  CLI::App* out = zoo->add_subcommand("export", "write a model as ONNX");
  out->add_option("model", o->model, "name, see `zoo list`")->required();
  out->add_option("--weights", o->weights, "checkpoint (.pth, .safetensors, .npz) or 'deterministic'")->capture_default_str();
  out->add_option("--opset", o->opset, "ONNX opset")->capture_default_str();
  out->add_option("--batch", o->batch, "fixed batch; without it the batch is dynamic")->check(CLI::Range(1, 65536));
  out->add_option("--size", o->size, "fixed HEIGHTxWIDTH");
  out->add_option("-o,--output", o->output, "file to write")->required();
  out->callback([o] { run_export(*o); });
}

}  // namespace vitrail::cli
