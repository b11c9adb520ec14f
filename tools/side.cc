// SPDX-License-Identifier: Apache-2.0
#include "tools/side.h"

#include <fmt/core.h>

#include "tools/cli.h"
#include "tools/onnxruntime.h"
#include "vitrail/check.h"
#include "vitrail/random.h"
#include "vitrail/session.h"
#include "vitrail/tensor_file.h"

namespace vitrail::cli {
namespace {

constexpr std::string_view kRuntimePrefix = "onnxruntime:";
constexpr std::pair<std::string_view, Rounding> kRoundings[] = {
    {"fp16:", Rounding::f16}, {"bf16:", Rounding::bf16}, {"tf32:", Rounding::tf32}};

Dims static_dims(const std::string& path, const Graph::TensorInfo& info) {
  Dims out;
  for (const std::string& d : info.dims) {
    if (d.find_first_not_of("0123456789") != std::string::npos)
      throw Error(Code::usage, fmt::format("'{}': extent '{}' of input '{}' is dynamic; say "
                                           "--shapes {}:DIMS, or give --inputs x.npz",
                                           path, d, info.name, info.name));
    out.push_back(std::stoll(d));
  }
  return out;
}

}  // namespace

Side parse_side(const std::string& text, bool runtime, DType precision) {
  for (const auto& [prefix, rounding] : kRoundings)
    if (text.starts_with(prefix)) {
      const std::string path = text.substr(prefix.size());
      return {Side::Kind::reference, path,
              fmt::format("the reference on {} rounded to {}", path, name_of(rounding)), precision,
              rounding};
    }
  if (text.starts_with(kRuntimePrefix)) {
    const std::string path = text.substr(kRuntimePrefix.size());
    return {Side::Kind::onnxruntime, path, fmt::format("ONNX Runtime on {}", path), precision};
  }
  if (text.ends_with(".npz") || text.ends_with(".npy"))
    return {Side::Kind::outputs, text, text, precision};
  if (is_plan(text)) return {Side::Kind::plan, text, text, precision};
  if (runtime)
    return {Side::Kind::onnxruntime, text, fmt::format("ONNX Runtime on {}", text), precision};
  return {
      Side::Kind::reference, text,
      fmt::format("the {} reference on {}", precision == DType::f64 ? "float64" : "float32", text),
      precision};
}

NamedTensors random_inputs(const std::vector<Side>& sides,
                           const std::map<std::string, ShapeRange>& shapes, uint64_t seed) {
  NamedTensors out;
  const auto add = [&](const std::string& name, DType dtype, auto declared) {
    const auto given = shapes.find(name);
    out.emplace_back(name,
                     random_tensor(dtype, given == shapes.end() ? declared() : given->second.opt,
                                   seed + out.size()));
  };
  for (const Side& side : sides) {
    if (side.kind == Side::Kind::outputs || !out.empty()) continue;
    if (side.kind == Side::Kind::plan || is_plan(side.path)) {
      const LoadedPlan plan = LoadedPlan::load(side.path);
      for (const TensorSpec& spec : plan.inputs())
        add(spec.name, spec.dtype, [&] { return spec.opt; });
    } else {
      for (const Graph::TensorInfo& info : Graph::import_onnx(side.path).inputs())
        add(info.name, info.dtype, [&] { return static_dims(side.path, info); });
    }
  }
  return out;
}

Graph model_of(const Side& side) {
  return is_plan(side.path) ? Graph::from_plan(side.path) : Graph::import_onnx(side.path);
}

NamedTensors outputs_of(const Side& side, const NamedTensors& inputs, int threads) {
  switch (side.kind) {
    case Side::Kind::outputs:
      return read_tensors(side.path);
    case Side::Kind::reference:
      return side.rounding == Rounding::none
                 ? run_reference(model_of(side), inputs, side.precision)
                 : run_rounded(model_of(side), inputs, side.rounding, side.precision);
    case Side::Kind::onnxruntime:
      return run_onnxruntime(side.path, inputs);
    case Side::Kind::plan:
      break;
  }
  Session session(LoadedPlan::load(side.path), {.threads = threads});
  const NamedTensors taken = as_taken(session.plan(), inputs);
  for (const auto& [name, t] : taken) session.set_input(name, t.dtype(), t.dims(), t.raw());
  session.run();
  NamedTensors out;
  for (const TensorSpec& spec : session.plan().outputs())
    out.emplace_back(spec.name, copy_of(session.output(spec.name)));
  return out;
}

}  // namespace vitrail::cli
