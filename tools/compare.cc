// SPDX-License-Identifier: Apache-2.0
// vitrail compare A B: plans, ONNX models (run by the reference), saved outputs; B is the reference.
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tools/cli.h"
#include "vitrail/check.h"
#include "vitrail/session.h"

namespace vitrail::cli {
namespace {

struct Options {
  std::vector<std::string> sides, shapes;
  std::string inputs;
  uint64_t seed = 1;
  double atol = 1e-5, rtol = 1e-5;
  bool double_reference = false;
};

bool is_outputs(const std::string& path) { return path.ends_with(".npz") || path.ends_with(".npy"); }

// Inputs: given, or random of the shapes that the first plan or model declares.
NamedTensors inputs_for(const Options& o) {
  if (!o.inputs.empty()) return read_tensors(o.inputs);
  const auto shapes = parse_shapes(o.shapes);
  NamedTensors out;
  for (const std::string& side : o.sides) {
    if (is_outputs(side) || !out.empty()) continue;
    if (is_plan(side)) {
      const LoadedPlan plan = LoadedPlan::load(side);
      for (const TensorSpec& spec : plan.inputs()) {
        const auto given = shapes.find(spec.name);
        out.emplace_back(spec.name, random_tensor(spec.dtype, given == shapes.end() ? spec.opt : given->second.opt, o.seed + out.size()));
      }
    } else {
      for (const Graph::TensorInfo& info : Graph::import_onnx(side).inputs()) {
        const auto given = shapes.find(info.name);
        Dims dims;
        if (given != shapes.end()) {
          dims = given->second.opt;
        } else {
          for (const std::string& d : info.dims) {
            if (d.find_first_not_of("0123456789") != std::string::npos)
              throw Error(Code::usage, fmt::format("'{}': extent '{}' of input '{}' is dynamic; say --shapes {}:DIMS", side, d, info.name, info.name));
            dims.push_back(std::stoll(d));
          }
        }
        out.emplace_back(info.name, random_tensor(info.dtype, dims, o.seed + out.size()));
      }
    }
  }
  return out;
}

NamedTensors outputs_of(const std::string& side, const NamedTensors& inputs, const Options& o) {
  if (is_outputs(side)) return read_tensors(side);
  if (!is_plan(side)) return run_reference(Graph::import_onnx(side), inputs, o.double_reference ? DType::f64 : DType::f32);
  const LoadedPlan plan = LoadedPlan::load(side);
  Session session(plan);
  for (const auto& [name, t] : inputs) session.set_input(name, t.dtype(), t.dims(), t.raw());
  session.run();
  NamedTensors out;
  for (const TensorSpec& spec : plan.outputs()) {
    const TensorView v = session.output(spec.name);
    Tensor copy(v.dtype, Dims(v.dims.begin(), v.dims.end()));
    std::copy_n(static_cast<const char*>(v.data), v.bytes, static_cast<char*>(copy.mutable_raw()));
    out.emplace_back(spec.name, copy);
  }
  return out;
}

bool report(const std::string& name, const Difference& d) {
  const auto line = [](const char* what, const Difference::Spread& s) {
    fmt::print("  {:9} min {:.3g}, mean {:.3g}, median {:.3g}, p99 {:.3g}, max {:.3g}\n", what, s.min, s.mean, s.median, s.p99, s.max);
  };
  const bool ok = d.same_shape && d.outside == 0;
  fmt::print("{} | Output: '{}'{}\n", ok ? "PASSED" : "FAILED", name, d.same_shape ? "" : " | shapes differ");
  line("abs error", d.abs);
  line("rel error", d.rel);
  fmt::print("  cosine {:.9f}, SQNR {:.1f} dB, top-1 agreement {:.4f}, {} element(s) beyond both tolerances\n", d.cosine, d.sqnr_db, d.top1, d.outside);
  return ok;
}

void run(const Options& o) {
  const NamedTensors inputs = inputs_for(o);
  const NamedTensors reference = outputs_of(o.sides.back(), inputs, o);
  bool ok = true;
  for (size_t i = 0; i + 1 < o.sides.size(); ++i) {
    fmt::print("{} against {}\n", o.sides[i], o.sides.back());
    const NamedTensors got = outputs_of(o.sides[i], inputs, o);
    for (const auto& [name, wanted] : reference) {
      const auto found = std::find_if(got.begin(), got.end(), [&](const auto& t) { return t.first == name; });
      if (found == got.end()) {
        fmt::print("FAILED | Output: '{}' is missing in {}\n", name, o.sides[i]);
        ok = false;
        continue;
      }
      ok &= report(name, vitrail::compare(found->second, wanted, o.atol, o.rtol));
    }
  }
  if (!ok) throw Error(Code::accuracy, fmt::format("outputs differ by more than atol {} and rtol {}", o.atol, o.rtol));
}

}  // namespace

void add_compare(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* compare = app.add_subcommand("compare", "outputs of plans, ONNX models (by the reference) and files; the last is the reference");
  compare->add_option("sides", o->sides, "two or more of .vitrail, .onnx, .npz")->required()->expected(2, 16);
  compare->add_option("--inputs", o->inputs, "tensors by name (.npz)");
  compare->add_option("--seed", o->seed, "of random inputs")->capture_default_str();
  compare->add_option("--shapes", o->shapes, "INPUT:DIMS of random inputs");
  compare->add_option("--atol", o->atol, "absolute tolerance")->capture_default_str();
  compare->add_option("--rtol", o->rtol, "relative tolerance; an element fails beyond both")->capture_default_str();
  compare->add_flag("--float64", o->double_reference, "the reference computes in float64");
  compare->callback([o] { run(*o); });
}

}  // namespace vitrail::cli
