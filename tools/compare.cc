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

// By output: the relative L2 error of the reference rounded to a narrow type.
using Yardstick = std::map<std::string, double>;

// How many times the yardstick's error; 0 without one.
double times(const Yardstick& yardstick, const std::string& name, const Difference& d) {
  const auto found = yardstick.find(name);
  return found == yardstick.end() || !(found->second > 0) ? 0 : relative_l2(d) / found->second;
}

bool agrees(const Difference& d, double times) {
  return d.same_shape && (d.outside == 0 || (times > 0 && times <= kMostOfRounding));
}

void print(const std::string& name, const Difference& d, double times, const Options& o) {
  const auto line = [](const char* what, const Difference::Spread& s) {
    fmt::print("  {:9} min {:.3g}, mean {:.3g}, median {:.3g}, p99 {:.3g}, max {:.3g}\n", what,
               s.min, s.mean, s.median, s.p99, s.max);
  };
  if (!d.same_shape) {
    fmt::print("FAILED | Output: '{}' | shapes differ\n", name);
    return;
  }
  const char* passed = agrees(d, times) ? "PASSED" : "FAILED";
  fmt::print("{} | Output: '{}' | Difference is {} tolerance (rel={:g}, abs={:g})\n", passed, name,
             d.outside == 0 ? "within" : "beyond", o.rtol, o.atol);
  if (times > 0)
    fmt::print("{} | Output: '{}' | {:.3f} times the error of rounding alone (at most {:g})\n",
               passed, name, times, kMostOfRounding);
  line("abs error", d.abs);
  line("rel error", d.rel);
  fmt::print(
      "  cosine {:.9f}, SQNR {:.1f} dB, relative L2 {:.3g}, top-1 agreement {:.4f}, {} element(s) "
      "beyond both tolerances\n",
      d.cosine, d.sqnr_db, relative_l2(d), d.top1, d.outside);
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
                     const Yardstick& yardstick, const Options& o, Json& told) {
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
    const double of_rounding = times(yardstick, name, d);
    print(shown, d, of_rounding, o);
    ok &= agrees(d, of_rounding);
    told.push_back({{"side", side.name},
                    {"output", shown},
                    {"agrees", agrees(d, of_rounding)},
                    {"relative_l2", relative_l2(d)},
                    {"times_rounding", of_rounding},
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

// What rounding alone does to the outputs, told and kept.
Yardstick measure_rounding(const std::vector<Side>& sides, const NamedTensors& inputs,
                           const NamedTensors& reference, const Options& o) {
  Yardstick out;
  for (const Side& side : sides) {
    if (side.rounding == Rounding::none) continue;
    if (!out.empty() && sides.size() > 3)
      throw Error(Code::usage, "give one rounded reference at a time as the measure of others");
    const NamedTensors got = outputs_of(side, inputs, o.threads);
    for (const auto& [name, wanted] : reference) {
      const Tensor* found = find(got, name, reference.size() == 1);
      if (!found) continue;
      const Difference d = vitrail::compare(*found, wanted, o.atol, o.rtol);
      fmt::print("{}\n  Output: '{}': relative L2 {:.3g}, abs error mean {:.3g}, max {:.3g}\n",
                 side.name, name, relative_l2(d), d.abs.mean, d.abs.max);
      out[name] = relative_l2(d);
    }
  }
  return out;
}

void run(const Options& o) {
  const DType precision = o.double_reference ? DType::f64 : DType::f32;
  std::vector<Side> sides;
  for (const std::string& text : o.sides) sides.push_back(parse_side(text, o.runtime, precision));
  if (sides.back().rounding != Rounding::none) {
    sides.push_back(parse_side(sides.back().path, false, precision));
    sides.back().kind = Side::Kind::reference;
  }
  if (sides.size() == 1) {
    const Side& plan = sides[0];
    if (plan.kind != Side::Kind::plan)
      throw Error(Code::usage, fmt::format("'{}' alone: give two or more to compare; only a plan "
                                           "can be compared with the model it keeps",
                                           printable(plan.path)));
    sides.push_back({Side::Kind::reference, plan.path,
                     fmt::format("the {} reference on the model it keeps",
                                 o.double_reference ? "float64" : "float32"),
                     precision});
  }
  const NamedTensors inputs = o.inputs.empty()
                                  ? random_inputs(sides, parse_shapes(o.shapes), o.seed)
                                  : read_tensors(o.inputs);
  const Side& last = sides.back();
  const NamedTensors reference = outputs_of(last, inputs, o.threads);
  const Yardstick yardstick = measure_rounding(sides, inputs, reference, o);
  Json told{{"reference", last.name},
            {"atol", o.atol},
            {"rtol", o.rtol},
            {"rounded_l2", yardstick},
            {"outputs", Json::array()}};
  bool ok = true;
  for (size_t i = 0; i + 1 < sides.size(); ++i) {
    if (sides[i].rounding != Rounding::none) continue;
    fmt::print("{} against {}\n", sides[i].name, last.name);
    const bool passed = compare_outputs(sides[i], outputs_of(sides[i], inputs, o.threads),
                                        reference, yardstick, o, told["outputs"]);
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
                   ".npz, .npy; or a plan alone, against the model it keeps. fp16:MODEL, "
                   "bf16:MODEL, tf32:MODEL: the reference rounded to that type, by whose error the "
                   "others are measured")
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
