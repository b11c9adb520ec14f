// SPDX-License-Identifier: Apache-2.0
// vitrail run model photo.jpg ...  |  --inputs x.npz --outputs y.npz
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <optional>

#include "tools/cli.h"
#include "tools/photos.h"
#include "vitrail/file.h"
#include "vitrail/tensor_file.h"

namespace vitrail::cli {
namespace {

struct Options {
  std::string model, inputs, outputs, device = "cuda";
  std::vector<std::string> photos, shapes;
  PhotoOptions photo;
  int threads = 0;
};

void run_tensors(Session& session, const NamedTensors& inputs, const std::string& outputs) {
  const NamedTensors taken = as_taken(session.plan(), inputs);
  for (const auto& [name, t] : taken) session.set_input(name, t.dtype(), t.dims(), t.raw());
  session.run();
  NamedTensors results;
  for (const TensorSpec& spec : session.plan().outputs()) {
    results.emplace_back(spec.name, copy_of(session.output(spec.name)));
    fmt::print("{}: {} {}\n", printable(spec.name), name_of(spec.dtype),
               dims_text(results.back().second.dims()));
  }
  if (!outputs.empty()) write_tensors(outputs, results);
}

void run(Options& o) {
  if (o.inputs.empty() == o.photos.empty())
    throw Error(Code::usage, "give photographs, or tensors with --inputs x.npz, one of the two");
  if (!o.outputs.empty() && o.inputs.empty())
    throw Error(Code::usage,
                "--outputs goes with --inputs; what becomes of photographs goes to --folder");
  if (!o.outputs.empty()) require_distinct(o.inputs, o.outputs);
  auto shapes = parse_shapes(o.shapes);
  const SessionOptions settings{.device = o.device, .threads = o.threads};
  const NamedTensors inputs = o.inputs.empty() ? NamedTensors{} : read_tensors(o.inputs);
  if (is_plan(o.model)) {
    Session session(LoadedPlan::load(o.model), settings);
    if (!o.inputs.empty()) return run_tensors(session, inputs, o.outputs);
    return run_photos(session, o.photos, Photographs(o.model, session.plan().metadata(), o.photo));
  }
  // An ONNX model is built for just what it shall run.
  const Graph model = Graph::import_onnx(o.model);
  if (!o.inputs.empty()) {
    add_shapes(inputs, shapes);
    Session session(build_in_memory(model, shapes, o.threads), settings);
    return run_tensors(session, inputs, o.outputs);
  }
  const Photographs how(o.model, model.metadata(), o.photo);
  if (!model.inputs().empty())
    for (const std::string& photo : o.photos)
      widen(shapes, model.inputs()[0].name, how.dims_of(photo));
  Session session(build_in_memory(model, shapes, o.threads), settings);
  run_photos(session, o.photos, how);
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* run_app =
      app.add_subcommand("run", "run a plan or an ONNX model on photographs or tensors");
  run_app->add_option("model", o->model, "plan or ONNX file")->required();
  run_app->add_option("photos", o->photos, "JPEG or PNG files");
  run_app->add_option("--inputs,--load-inputs", o->inputs, "tensors by name (.npz)");
  run_app->add_option("--outputs,--save-outputs", o->outputs, "file for the outputs (.npz)");
  run_app->add_option("--shapes", o->shapes,
                      "INPUT:DIMS, for an ONNX model; without it the shapes of what is run");
  run_app->add_option("--task", o->photo.task, "classification or spectral");
  run_app->add_option("--labels", o->photo.labels, "text file, one class a line");
  for (const char* key :
       {"resize", "max_side", "crop", "interpolation", "mean", "std", "range", "divisor", "color"})
    run_app->add_option_function<std::string>(
        std::string("--") + key, [o, key](const std::string& v) { o->photo.preprocess[key] = v; },
        std::string("preprocessing, see docs/metadata.md: ") + key);
  run_app->add_option("--bands", o->photo.bands, "bands of a cube to write as gray pictures")
      ->delimiter(',');
  run_app->add_option("--folder", o->photo.folder, "where pictures and cubes go")
      ->capture_default_str();
  run_app->add_option("--top", o->photo.top, "classes shown")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  run_app->add_option("--threads", o->threads, "workers; 0: one per processor")
      ->check(CLI::Range(0, 1024));
  add_device(*run_app, o->device);
  run_app->callback([o] { run(*o); });
}

}  // namespace vitrail::cli
