// SPDX-License-Identifier: Apache-2.0
#include "tools/cli.h"

#include <fmt/core.h>
#include <stdlib.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "vitrail/file.h"

namespace vitrail::cli {
namespace {

[[noreturn]] void usage(const std::string& message) { throw Error(Code::usage, message); }

constexpr const char* kForm =
    "write INPUT:DIMS like input:1x3x224x224, or with ranges input:1..4..16x3x224x224 "
    "(min..opt..max)";

int64_t number(const std::string& text, const std::string& whole) {
  int64_t value = 0;
  if (text.empty() || text.size() > 15)
    usage(fmt::format("--shapes '{}': '{}' is no extent; {}", whole, text, kForm));
  for (char c : text) {
    if (c < '0' || c > '9')
      usage(fmt::format("--shapes '{}': '{}' is no extent; {}", whole, text, kForm));
    value = value * 10 + (c - '0');
  }
  if (value < 1 || value > INT32_MAX)
    usage(fmt::format("--shapes '{}': extent {} is not within 1..2147483647", whole, value));
  return value;
}

std::vector<std::string> split(const std::string& text, const std::string& separators) {
  std::vector<std::string> out(1);
  for (char c : text)
    if (separators.find(c) != std::string::npos)
      out.emplace_back();
    else
      out.back() += c;
  return out;
}

}  // namespace

std::pair<std::string, ShapeRange> parse_shape(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0)
    usage(fmt::format("--shapes '{}': no input name; {}", text, kForm));
  std::string name = text.substr(0, colon), dims = text.substr(colon + 1);
  if (name.size() > 2 && name.front() == '\'' && name.back() == '\'')
    name = name.substr(1, name.size() - 2);
  ShapeRange range;
  if (dims == "scalar") return {name, range};
  if (dims.size() > 2 && dims.front() == '[' && dims.back() == ']')
    dims = dims.substr(1, dims.size() - 2);
  for (const std::string& d : split(dims, "x,")) {
    std::vector<int64_t> parts;
    size_t at = 0;
    for (size_t dots = d.find("..");; dots = d.find("..", at)) {
      parts.push_back(number(d.substr(at, dots == std::string::npos ? dots : dots - at), text));
      if (dots == std::string::npos) break;
      at = dots + 2;
    }
    if (parts.size() > 3)
      usage(fmt::format("--shapes '{}': '{}' has more than min..opt..max", text, d));
    range.min.push_back(parts.front());
    range.opt.push_back(parts.size() == 3 ? parts[1] : parts.back());
    range.max.push_back(parts.back());
    if (!(range.min.back() <= range.opt.back() && range.opt.back() <= range.max.back()))
      usage(fmt::format("--shapes '{}': '{}' needs min <= opt <= max", text, d));
  }
  return {name, range};
}

std::vector<std::map<std::string, ShapeRange>> parse_profiles(
    const std::vector<std::string>& arguments) {
  std::map<std::string, std::vector<ShapeRange>> given;
  size_t sets = 0;
  for (const std::string& argument : arguments) {
    std::string one;
    int depth = 0;
    const auto add = [&] {
      const auto [name, range] = parse_shape(one);
      auto& list = given[name];
      if (!list.empty() && list[0].min.size() != range.min.size())
        usage(fmt::format("--shapes gives '{}' two ranks", name));
      list.push_back(range);
      sets = std::max(sets, list.size());
      one.clear();
    };
    for (char c : argument) {
      depth += c == '[';
      depth -= c == ']';
      if (c == ',' && depth == 0 && one.find(':') != std::string::npos)
        add();
      else
        one += c;
    }
    add();
  }
  std::vector<std::map<std::string, ShapeRange>> out(sets);
  for (size_t i = 0; i < sets; ++i)
    for (const auto& [name, list] : given) out[i][name] = list[std::min(i, list.size() - 1)];
  return out;
}

std::map<std::string, ShapeRange> parse_shapes(const std::vector<std::string>& arguments) {
  const auto profiles = parse_profiles(arguments);
  if (profiles.size() > 1)
    usage("one input is given several shapes; only a build takes several ranges");
  return profiles.empty() ? std::map<std::string, ShapeRange>{} : profiles[0];
}

std::pair<int64_t, int64_t> parse_size(const std::string& text) {
  const auto parts = split(text, "x");
  if (parts.size() != 2) usage(fmt::format("size '{}': write HEIGHTxWIDTH like 512x482", text));
  return {number(parts[0], text), number(parts[1], text)};
}

void add_device(CLI::App& app, std::string& device) {
  app.add_option_function<std::string>(
         "--device",
         [&device](const std::string& text) {
           const bool bare =
               !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
           device = bare ? "cuda:" + text : text;
           if (device != "cpu" && device != "cuda" && !device.starts_with("cuda:"))
             usage(fmt::format("--device '{}': expected cpu, cuda or cuda:N", text));
         },
         "cpu, cuda or cuda:N")
      ->default_str(device);
}

bool is_plan(const std::string& path) {
  constexpr std::string_view kMagic = "\x89VTR";
  const auto by_name = [&] { return path.ends_with(".vitrail"); };
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    return by_name();  // opening a pipe would wait
  std::ifstream file(path, std::ios::binary);
  char head[kMagic.size()] = {};
  if (!file.read(head, sizeof head)) return by_name();
  return std::string_view(head, sizeof head) == kMagic;
}

void widen(std::map<std::string, ShapeRange>& shapes, const std::string& input, const Dims& dims) {
  const auto [at, fresh] = shapes.emplace(input, ShapeRange{dims, dims, dims});
  ShapeRange& range = at->second;
  if (fresh || range.min.size() != dims.size()) return;
  for (size_t i = 0; i < dims.size(); ++i) {
    range.min[i] = std::min(range.min[i], dims[i]);
    range.max[i] = std::max(range.max[i], dims[i]);
  }
}
void add_shapes(const NamedTensors& inputs, std::map<std::string, ShapeRange>& shapes) {
  for (const auto& [name, t] : inputs)
    shapes.emplace(name, ShapeRange{t.dims(), t.dims(), t.dims()});
}

LoadedPlan build_in_memory(const Graph& model, const std::map<std::string, ShapeRange>& shapes,
                           int threads) {
  BuildOptions options;
  options.shapes = shapes;
  options.threads = threads;
  options.verify = VerifyLevel::off;
  options.tune = false;
  options.keep_source = false;
  const TemporaryFolder folder;  // the plan stays mapped when its name is gone
  build(model, options, folder.at("model.vitrail"));
  return LoadedPlan::load(folder.at("model.vitrail"));
}

NamedTensors as_taken(const LoadedPlan& plan, NamedTensors tensors) {
  // Not float64: an array of NumPy's default type is more likely a mistake.
  const auto is_float = [](DType t) {
    return t == DType::f16 || t == DType::bf16 || t == DType::f32;
  };
  for (auto& [name, t] : tensors)
    for (const TensorSpec& spec : plan.inputs())
      if (spec.name == name && is_float(spec.dtype) && is_float(t.dtype())) t = t.cast(spec.dtype);
  return tensors;
}

Tensor copy_of(const TensorView& view) {
  Tensor out(view.dtype, Dims(view.dims.begin(), view.dims.end()));
  std::copy_n(static_cast<const char*>(view.data), view.bytes,
              static_cast<char*>(out.mutable_raw()));
  return out;
}

std::string dims_text(std::span<const int64_t> dims) {
  std::string out;
  for (int64_t d : dims) out += (out.empty() ? "" : "x") + std::to_string(d);
  return out.empty() ? "scalar" : out;
}

TemporaryFolder::TemporaryFolder() {
  std::error_code error;
  path_ = (std::filesystem::temp_directory_path(error) / "vitrail-XXXXXX").string();
  if (error || !mkdtemp(path_.data()))
    throw Error(
        Code::io,
        fmt::format("cannot make a temporary folder '{}'; set TMPDIR to one that can be written",
                    printable(path_)));
}
TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace vitrail::cli
