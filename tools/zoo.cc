// SPDX-License-Identifier: Apache-2.0
// vitrail zoo list | export | build
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include "tools/build.h"
#include "tools/cli.h"
#include "zoo/zoo.h"

namespace vitrail::cli {
namespace {

/// A model of the zoo as the command line names it.
struct Choice {
  std::string model, weights = "deterministic", size;
  int64_t batch = 0;
};

Graph define(const Choice& o) {
  zoo::InputSize size{.batch = o.batch};
  if (!o.size.empty()) std::tie(size.height, size.width) = parse_size(o.size);
  const zoo::Weights weights = o.weights == "deterministic" ? zoo::Weights::deterministic()
                                                            : zoo::Weights::from_file(o.weights);
  if (weights.is_deterministic())
    fmt::print("the weights are made from the parameters' names and mean nothing\n");
  return zoo::define(o.model, weights, size);
}

void add_choice(CLI::App* app, Choice* o) {
  app->add_option("model", o->model, "name, see `zoo list`")->required();
  app->add_option("--weights", o->weights,
                  "checkpoint (.pth, .safetensors, .npz) or 'deterministic'")
      ->capture_default_str();
  app->add_option("--batch", o->batch, "fixed batch; without it the batch is dynamic")
      ->check(CLI::Range(1, 65536));
  app->add_option("--size", o->size, "fixed HEIGHTxWIDTH");
}

void list() {
  for (const zoo::Model& m : zoo::models())
    fmt::print("{:14} {:6} {}x{}{}  {}\n", m.name, m.family, m.height, m.width,
               m.dynamic_size ? " (any)" : "", m.description);
}

void add_export(CLI::App* zoo) {
  struct Options {
    Choice choice;
    std::string output;
    int opset = 18;
  };
  auto o = std::make_shared<Options>();
  CLI::App* out = zoo->add_subcommand("export", "write a model as ONNX");
  add_choice(out, &o->choice);
  out->add_option("--opset", o->opset, "ONNX opset")->capture_default_str();
  out->add_option("-o,--output", o->output, "file to write")->required();
  out->callback([o] {
    const Graph graph = define(o->choice);
    graph.export_onnx(o->output, {.opset = o->opset});
    fmt::print("wrote {}: {} nodes, weights {:.1f} MiB, opset {}\n", o->output, graph.node_count(),
               static_cast<double>(graph.weight_bytes()) / 1048576.0, o->opset);
  });
}

void add_zoo_build(CLI::App* zoo) {
  struct Options {
    Choice choice;
    BuildArguments build;
  };
  auto o = std::make_shared<Options>();
  CLI::App* out =
      zoo->add_subcommand("build", "straight to a verified plan, the same as by way of ONNX");
  add_choice(out, &o->choice);
  add_build_options(out, &o->build);
  out->callback([o] {
    require_output(o->build);
    build_plan(define(o->choice), o->build);
  });
}

}  // namespace

void add_zoo(CLI::App& app) {
  CLI::App* zoo =
      app.add_subcommand("zoo", "models of the zoo: list them, write them as ONNX or as plans");
  zoo->require_subcommand(1);
  zoo->add_subcommand("list", "names, sizes and sources")->callback(list);
  add_export(zoo);
  add_zoo_build(zoo);
}

}  // namespace vitrail::cli
