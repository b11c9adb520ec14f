// SPDX-License-Identifier: Apache-2.0
// vitrail run model photo.jpg ...  |  --inputs x.npz --outputs y.npz
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/cli.h"
#include "vitrail/session.h"
#include "vitrail/tensor_file.h"
#include "zoo/image/postprocess.h"
#include "zoo/image/preprocess.h"

namespace vitrail::cli {
namespace {

struct Options {
  std::string model, inputs, outputs, task, labels, folder = ".", device = "cuda";
  std::vector<std::string> photos, shapes;
  std::map<std::string, std::string> preprocess;  ///< key of vitrail.preprocess.* to value, from the command line
  std::vector<int64_t> bands;
  int top = 5, threads = 0;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

void run_tensors(Session& session, const Options& o) {
  const NamedTensors inputs = read_tensors(o.inputs);
  for (const auto& [name, t] : inputs) session.set_input(name, t.dtype(), t.dims(), t.raw());
  session.run();
  NamedTensors results;
  for (const TensorSpec& spec : session.plan().outputs()) {
    results.emplace_back(spec.name, copy_of(session.output(spec.name)));
    fmt::print("{}: {} {}\n", printable(spec.name), name_of(spec.dtype), dims_text(results.back().second.dims()));
  }
  if (!o.outputs.empty()) write_tensors(o.outputs, results);
}

void classes(const Tensor& logits, const std::vector<std::string>& labels, int top) {
  const auto best = image::top_classes({logits.data<float>(), static_cast<size_t>(logits.size())}, static_cast<size_t>(top));
  for (const image::Scored& s : best) {
    const auto i = static_cast<size_t>(s.index);
    fmt::print("  {:6.2f} %  class {}{}\n", 100 * s.probability, s.index, i < labels.size() ? "  " + labels[i] : "");
  }
}

void cube(const Tensor& t, const std::string& photo, const Options& o) {
  const Dims& d = t.dims();
  const auto path = [&](const char* tail) {
    return (std::filesystem::path(o.folder) / (std::filesystem::path(photo).stem().string() + tail)).string();
  };
  write_tensors(path(".cube.npy"), {{"cube", t.reshaped({d[1], d[2], d[3]})}});
  const image::Cube view{d[1], d[2], d[3], {t.data<float>(), static_cast<size_t>(t.size())}};
  image::save_png(path(".false-color.png"), image::false_color(view));
  fmt::print("  {} bands of {}x{}: {}, {}\n", d[1], d[2], d[3], path(".cube.npy"), path(".false-color.png"));
  for (int64_t band : o.bands) {
    const std::string name = path(fmt::format(".band{}.png", band).c_str());
    image::save_png(name, image::band_gray(view, band));
    fmt::print("  band {}: {}\n", band, name);
  }
}

void run_photos(Session& session, const Options& o) {
  const auto& meta = session.plan().metadata();
  std::map<std::string, std::string> text(meta.begin(), meta.end());
  for (const auto& [key, value] : o.preprocess) text[image::kPreprocessPrefix + key] = value;
  std::string task = o.task;
  if (task.empty() && meta.contains("vitrail.task")) task = meta.at("vitrail.task");
  const auto how = image::preprocessing_from_text(text);
  if (task.empty() || !how)
    throw Error(Code::usage, fmt::format("'{}' does not say {}; give {}", o.model, task.empty() ? "what its output means" : "how it wants its pictures",
                                         task.empty() ? "--task classification or --task spectral" : "--resize, --crop, --mean, --std"));
  if (task != "classification" && task != "spectral")
    throw Error(Code::usage, fmt::format("task '{}' is unknown; expected classification or spectral", task));
  std::vector<std::string> labels;
  if (!o.labels.empty()) {
    std::ifstream file(o.labels);
    if (!file) throw Error(Code::io, fmt::format("labels '{}' cannot be read", o.labels));
    std::ostringstream all;
    all << file.rdbuf();
    labels = lines_of(all.str());
  } else if (meta.contains("vitrail.labels")) {
    labels = lines_of(meta.at("vitrail.labels"));
  }
  const std::string input = session.plan().inputs().at(0).name, output = session.plan().outputs().at(0).name;
  for (const std::string& photo : o.photos) {
    const image::Image picture = image::load(photo);
    const image::Batch batch = image::preprocess({&picture, 1}, *how);
    session.set_input(input, DType::f32, batch.dims, batch.values.data());
    session.run();
    const Tensor result = copy_of(session.output(output));
    fmt::print("{} ({}x{})\n", photo, picture.height, picture.width);
    if (task == "classification") {
      classes(result, labels, o.top);
    } else {
      if (result.rank() != 4) throw Error(Code::bad_input, fmt::format("a spectral model gives 4 extents, '{}' gives {}", output, result.rank()));
      cube(result, photo, o);
    }
  }
  if (meta.contains("vitrail.weights") && meta.at("vitrail.weights") == "deterministic")
    fmt::print("The weights are made from the parameters' names, not trained: classes and spectra mean nothing.\n");
}

void run(const Options& o) {
  if (o.inputs.empty() == o.photos.empty()) throw Error(Code::usage, "give photographs, or tensors with --inputs x.npz, one of the two");
  auto shapes = parse_shapes(o.shapes);
  Session session(load_model(o.model, shapes, o.threads), {.device = o.device, .threads = o.threads});
  if (!o.inputs.empty()) run_tensors(session, o);
  else run_photos(session, o);
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* run_app = app.add_subcommand("run", "run a plan or an ONNX model on photographs or tensors");
  run_app->add_option("model", o->model, "plan or ONNX file")->required();
  run_app->add_option("photos", o->photos, "JPEG or PNG files");
  run_app->add_option("--inputs", o->inputs, "tensors by name (.npz)");
  run_app->add_option("--outputs", o->outputs, "file for the outputs (.npz)");
  run_app->add_option("--shapes", o->shapes, "INPUT:DIMS, for an ONNX model with dynamic extents");
  run_app->add_option("--task", o->task, "classification or spectral");
  run_app->add_option("--labels", o->labels, "text file, one class a line");
  for (const char* key : {"resize", "crop", "interpolation", "mean", "std", "range", "divisor", "color"})
    run_app->add_option_function<std::string>(std::string("--") + key, [o, key](const std::string& v) { o->preprocess[key] = v; },
                                              std::string("preprocessing, see docs/metadata.md: ") + key);
  run_app->add_option("--bands", o->bands, "bands of a cube to write as gray pictures")->delimiter(',');
  run_app->add_option("--folder", o->folder, "where pictures and cubes go")->capture_default_str();
  run_app->add_option("--top", o->top, "classes shown")->check(CLI::Range(1, 1000))->capture_default_str();
  run_app->add_option("--threads", o->threads, "workers; 0: one per processor")->check(CLI::Range(0, 1024));
  add_device(*run_app, o->device);
  run_app->callback([o] { run(*o); });
}

}  // namespace vitrail::cli
