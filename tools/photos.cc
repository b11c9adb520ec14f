// SPDX-License-Identifier: Apache-2.0
#include "tools/photos.h"

#include <fmt/core.h>

#include <filesystem>
#include <sstream>

#include "tools/cli.h"
#include "vitrail/file.h"
#include "vitrail/tensor_file.h"
#include "zoo/image/postprocess.h"

namespace vitrail::cli {
namespace {

constexpr size_t kLargestLabels = size_t{64} << 20;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    out.push_back(line);
  }
  return out;
}

}  // namespace

Photographs::Photographs(const std::string& model,
                         const std::map<std::string, std::string>& metadata,
                         const PhotoOptions& options)
    : options_(options) {
  const auto said = [&](const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  std::map<std::string, std::string> text = metadata;
  for (const auto& [key, value] : options.preprocess) text[image::kPreprocessPrefix + key] = value;
  if (options_.task.empty()) options_.task = said("vitrail.task");
  const auto how = image::preprocessing_from_text(text);
  if (options_.task.empty() || !how)
    throw Error(
        Code::usage,
        fmt::format(
            "'{}' does not say {}; give {} (docs/metadata.md), or run tensors with --inputs x.npz",
            printable(model),
            options_.task.empty() ? "what its output means" : "how it wants its pictures",
            options_.task.empty() ? "--task classification or --task spectral"
                                  : "--resize, --crop, --mean, --std"));
  if (options_.task != "classification" && options_.task != "spectral")
    throw Error(Code::usage,
                fmt::format("task '{}' is unknown; expected classification or spectral",
                            printable(options_.task)));
  how_ = *how;
  labels_ = lines_of(options.labels.empty() ? said("vitrail.labels")
                                            : read_file(options.labels, kLargestLabels));
  untrained_ = said("vitrail.weights") == "deterministic";
}

image::Batch Photographs::read(const std::string& photo) const {
  const image::Image picture = image::load(photo);
  return image::preprocess({&picture, 1}, how_);
}
Dims Photographs::dims_of(const std::string& photo) const {
  const image::Batch batch = read(photo);
  return {batch.dims.begin(), batch.dims.end()};
}

void Photographs::show(const Tensor& result, const std::string& photo) const {
  if (result.dtype() != DType::f32)
    throw Error(Code::bad_input, fmt::format("the first output is {}, a model of task {} gives f32",
                                             name_of(result.dtype()), options_.task));
  options_.task == "spectral" ? show_cube(result, photo) : show_classes(result);
}

void Photographs::show_classes(const Tensor& logits) const {
  const int64_t classes = logits.rank() ? logits.dims().back() : 0;
  if (classes != logits.size())
    throw Error(
        Code::bad_input,
        fmt::format("a classifier gives one row of logits for a photograph, this output is {}",
                    dims_text(logits.dims())));
  if (!labels_.empty() && static_cast<int64_t>(labels_.size()) < classes)
    throw Error(Code::bad_input,
                fmt::format("{} labels for {} classes; one line for each is needed", labels_.size(),
                            classes));
  const auto best = image::top_classes({logits.data<float>(), static_cast<size_t>(classes)},
                                       static_cast<size_t>(options_.top));
  for (const image::Scored& s : best)
    fmt::print("  {:6.2f} %  class {}{}\n", 100 * s.probability, s.index,
               labels_.empty() ? "" : "  " + printable(labels_[static_cast<size_t>(s.index)]));
}

void Photographs::show_cube(const Tensor& t, const std::string& photo) const {
  const Dims& d = t.dims();
  if (t.rank() != 4 || d[0] != 1)
    throw Error(
        Code::bad_input,
        fmt::format(
            "a spectral model gives 1 x bands x height x width for a photograph, this output is {}",
            dims_text(d)));
  for (int64_t band : options_.bands)
    if (band < 0 || band >= d[1])
      throw Error(Code::usage,
                  fmt::format("--bands {}: the cube has bands 0 to {}", band, d[1] - 1));
  const auto path = [&](const std::string& tail) {
    return (std::filesystem::path(options_.folder) /
            (std::filesystem::path(photo).stem().string() + tail))
        .string();
  };
  write_tensors(path(".cube.npy"), {{"cube", t.reshaped({d[1], d[2], d[3]})}});
  const image::Cube view{d[1], d[2], d[3], {t.data<float>(), static_cast<size_t>(t.size())}};
  image::save_png(path(".false-color.png"), image::false_color(view));
  fmt::print("  preview: {}\n  {} bands of {}x{}: {}\n", printable(path(".false-color.png")), d[1],
             d[2], d[3], printable(path(".cube.npy")));
  for (int64_t band : options_.bands) {
    const std::string name = path(fmt::format(".band{}.png", band));
    image::save_png(name, image::band_gray(view, band));
    fmt::print("  band {}: {}\n", band, printable(name));
  }
}

void run_photos(Session& session, const std::vector<std::string>& photos, const Photographs& how) {
  const auto &inputs = session.plan().inputs(), &outputs = session.plan().outputs();
  if (inputs.size() != 1 || outputs.empty())
    throw Error(
        Code::usage,
        fmt::format(
            "a model for photographs has one input, this has {}; run tensors with --inputs x.npz",
            inputs.size()));
  for (const std::string& photo : photos) {
    const image::Batch batch = how.read(photo);
    const Tensor pixels(DType::f32, Dims(batch.dims.begin(), batch.dims.end()), batch.values.data(),
                        nullptr);
    const NamedTensors taken = as_taken(session.plan(), {{inputs[0].name, pixels}});
    session.set_input(inputs[0].name, taken[0].second.dtype(), batch.dims, taken[0].second.raw());
    session.run();
    fmt::print("{} ({})\n", printable(photo), dims_text(batch.dims));
    how.show(copy_of(session.output(outputs[0].name)), photo);
  }
  if (how.means_nothing())
    fmt::print(
        "The weights are made from the parameters' names, not trained: classes and spectra mean "
        "nothing.\n");
}

}  // namespace vitrail::cli
