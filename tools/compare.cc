// SPDX-License-Identifier: Apache-2.0
// vitrail compare A B: plans, ONNX models (run by the reference or by ONNX Runtime), saved outputs;
// the last is what the others are measured by.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tools/cli.h"
#include "tools/layers.h"
#include "tools/side.h"
#include "vitrail/check.h"
#include "vitrail/file.h"
#include "vitrail/tensor_file.h"

namespace vitrail::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> sides, shapes;
  std::string inputs, json;
  uint64_t seed = 1;
  double atol = 1e-5, rtol = 1e-5;
  int threads = 0;
  size_t worst = 10;
  bool double_reference = false, runtime = false, layers = false;
};

Json spread_json(const Difference::Spread& s) {
  return {{"min", s.min}, {"mean", s.mean}, {"median", s.median}, {"p99", s.p99}, {"max", s.max}};
}

bool agrees(const Difference& d) { return d.same_shape && d.outside == 0; }

void print(const std::string& name, const Difference& d, const Options& o) {
  const auto line = [](const char* what, const Difference::Spread& s) {
    fmt::print("  {:9} min {:.3g}, mean {:.3g}, median {:.3g}, p99 {:.3g}, max {:.3g}\n", what,
               s.min, s.mean, s.median, s.p99, s.max);
  };
  if (!d.same_shape) {
    fmt::print("FAILED | Output: '{}' | shapes differ\n", name);
    return;
  }
  fmt::print("{} | Output: '{}' | Difference is {} tolerance (rel={:g}, abs={:g})\n",
             agrees(d) ? "PASSED" : "FAILED", name, agrees(d) ? "within" : "beyond", o.rtol,
             o.atol);
  line("abs error", d.abs);
  line("rel error", d.rel);
  fmt::print(
      "  cosine {:.9f}, SQNR {:.1f} dB, top-1 agreement {:.4f}, {} element(s) beyond both "
      "tolerances\n",
      d.cosine, d.sqnr_db, d.top1, d.outside);
}

// The output that `name` of the reference is measured against: of the same name, or the only one of
// a file that keeps no names.
const Tensor* find(const NamedTensors& got, const std::string& name, bool single) {
  for (const auto& [n, t] : got)
    if (n == name || (single && got.size() == 1 && n == "data")) return &t;
  return nullptr;
}

// Each output of one side against the reference's.
bool compare_outputs(const Side& side, const NamedTensors& got, const NamedTensors& reference,
                     const Options& o, Json& told) {
  bool ok = true;
  for (const auto& [name, wanted] : reference) {
    const std::string shown = name == "data" && got.size() == 1 ? got[0].first : name;
    const Tensor* found = find(got, shown, reference.size() == 1);
    if (!found) {
      fmt::print("FAILED | Output: '{}' is missing in {}\n", name, side.name);
      ok = false;
      continue;
    }
    const Difference d = vitrail::compare(*found, wanted, o.atol, o.rtol);
    print(shown, d, o);
    ok &= agrees(d);
    told.push_back({{"side", side.name},
                    {"output", shown},
                    {"agrees", agrees(d)},
                    {"abs", spread_json(d.abs)},
                    {"rel", spread_json(d.rel)},
                    {"cosine", d.cosine},
                    {"sqnr_db", d.sqnr_db},
                    {"top1", d.top1},
                    {"outside", d.outside},
                    {"dims", wanted.dims()}});
  }
  return ok;
}

void run(const Options& o) {
  std::vector<Side> sides;
  for (const std::string& text : o.sides)
    sides.push_back(parse_side(text, o.runtime, o.double_reference ? DType::f64 : DType::f32));
  if (sides.size() == 1) {
    const Side& plan = sides[0];
    if (plan.kind != Side::Kind::plan)
      throw Error(Code::usage, fmt::format("'{}' alone: give two or more to compare; only a plan "
                                           "can be compared with the model it keeps",
                                           printable(plan.path)));
    sides.push_back({Side::Kind::reference, plan.path,
                     fmt::format("the {} reference on the model it keeps",
                                 o.double_reference ? "float64" : "float32"),
                     o.double_reference ? DType::f64 : DType::f32});
  }
  const NamedTensors inputs = o.inputs.empty()
                                  ? random_inputs(sides, parse_shapes(o.shapes), o.seed)
                                  : read_tensors(o.inputs);
  const Side& last = sides.back();
  const NamedTensors reference = outputs_of(last, inputs, o.threads);
  Json told{
      {"reference", last.name}, {"atol", o.atol}, {"rtol", o.rtol}, {"outputs", Json::array()}};
  bool ok = true;
  for (size_t i = 0; i + 1 < sides.size(); ++i) {
    fmt::print("{} against {}\n", sides[i].name, last.name);
    const bool passed = compare_outputs(sides[i], outputs_of(sides[i], inputs, o.threads),
                                        reference, o, told["outputs"]);
    fmt::print("{} | {} vs. {}\n", passed ? "PASSED" : "FAILED", sides[i].name, last.name);
    ok &= passed;
    if (o.layers)
      told["layers"].push_back(compare_layers(
          sides[i], last, inputs,
          {.precision = last.precision, .atol = o.atol, .rtol = o.rtol, .threads = o.threads},
          o.worst));
  }
  if (!o.json.empty())
    write_atomically(o.json, told.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  if (!ok)
    throw Error(
        Code::accuracy,
        fmt::format(
            "outputs differ by more than atol {} and rtol {}; --layers shows where it begins",
            o.atol, o.rtol));
}

}  // namespace

void add_compare(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* compare = app.add_subcommand(
      "compare", "outputs of plans, ONNX models and files; the last is the reference");
  compare
      ->add_option("sides", o->sides,
                   "two or more of .vitrail, .onnx (by the reference), onnxruntime:FILE.onnx, "
                   ".npz, .npy; or a plan alone, against the model it keeps")
      ->required()
      ->expected(1, 16);
  compare->add_option("--inputs,--load-inputs", o->inputs, "tensors by name (.npz)");
  compare->add_option("--seed", o->seed, "of random inputs")->capture_default_str();
  compare->add_option("--shapes", o->shapes, "INPUT:DIMS of random inputs");
  compare->add_option("--atol", o->atol, "absolute tolerance")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  compare->add_option("--rtol", o->rtol, "relative tolerance; an element fails beyond both")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  compare->add_flag("--float64", o->double_reference, "the reference computes in float64");
  compare->add_flag(
      "--ort,--onnxrt", o->runtime,
      "ONNX files are run by ONNX Runtime (Python's package; VITRAIL_PYTHON names the Python)");
  compare->add_flag("--layers", o->layers,
                    "each step of a plan, fed with the values of the last side's model");
  compare->add_option("--worst", o->worst, "steps that --layers prints; 0: all")
      ->capture_default_str();
  compare->add_option("--threads", o->threads, "workers; 0: one per processor")
      ->check(CLI::Range(0, 1024));
  compare->add_option("--json", o->json, "file for the figures");
  compare->callback([o] { run(*o); });
}

}  // namespace vitrail::cli
