// SPDX-License-Identifier: Apache-2.0
// vitrail build model.onnx -o model.vitrail
#include "tools/build.h"

#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <set>

#include "tools/account.h"
#include "tools/cli.h"
#include "vitrail/file.h"

namespace vitrail::cli {
namespace {

// trtexec's and Polygraphy's three lists to ranges; what one leaves out follows from the others.
std::map<std::string, ShapeRange> ranges(const BuildArguments& o) {
  auto out = parse_profiles(o.shapes).empty() ? std::map<std::string, ShapeRange>{}
                                              : parse_profiles(o.shapes)[0];
  const auto opt = parse_shapes(o.opt_shapes), min = parse_shapes(o.min_shapes),
             max = parse_shapes(o.max_shapes);
  for (const auto* list : {&opt, &min, &max})
    for (const auto& [name, range] : *list) out.emplace(name, range);
  for (auto& [name, range] : out) {
    if (opt.contains(name)) range.opt = opt.at(name).opt;
    if (min.contains(name)) range.min = min.at(name).min;
    if (max.contains(name)) range.max = max.at(name).max;
    if (!opt.contains(name) && max.contains(name) && !o.opt_shapes.empty()) range.opt = range.max;
  }
  return out;
}

// "fp16", or trtexec's "fp16:chw" of each tensor, all alike.
DType io_type(const std::string& text, const char* option) {
  std::set<std::string> types;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    types.insert(text.substr(at, end - at));
    at = end + 1;
  }
  const std::string& one = *types.begin();
  if (types.size() == 1 && (one == "fp16" || one == "fp16:chw")) return DType::f16;
  if (types.size() == 1 && (one == "fp32" || one == "fp32:chw")) return DType::f32;
  throw Error(Code::unsupported,
              fmt::format("{} {}: inputs and outputs are dense, all of fp32:chw or all of fp16:chw",
                          option, printable(text)));
}

}  // namespace

void require_output(const BuildArguments& o) {
  if (o.output.empty()) throw Error(Code::usage, "say where the plan shall go: -o PLAN.vitrail");
}

void build_plan(const Graph& graph, BuildArguments& o) {
  if (auto given = ranges(o); !given.empty()) {
    o.build.shapes = std::move(given);
    o.build.profiles.clear();
  }
  if (auto profiles = parse_profiles(o.shapes); profiles.size() > 1) {
    if (!o.min_shapes.empty() || !o.opt_shapes.empty() || !o.max_shapes.empty())
      throw Error(Code::usage,
                  "several ranges of one input: give them all with --shapes input:MIN..OPT..MAX, "
                  "without --minShapes, --optShapes and --maxShapes");
    o.build.profiles = std::move(profiles);
  }
  o.build.verify = o.verify == "off"    ? VerifyLevel::off
                   : o.verify == "fast" ? VerifyLevel::fast
                   : o.verify == "full" ? VerifyLevel::full
                                        : VerifyLevel::automatic;
  if (o.fp16 && o.bf16)
    throw Error(Code::usage, "--fp16 and --bf16: values are stored in one of them; give one");
  if (o.build.tf32 && o.no_tf32)
    throw Error(Code::usage, "--tf32 and --noTF32 contradict each other");
  o.build.storage = o.fp16 ? DType::f16 : o.bf16 ? DType::bf16 : DType::f32;
  if (!o.io.empty()) o.build.input_type = o.build.output_type = io_type(o.io, "--io");
  if (!o.input_io.empty()) o.build.input_type = io_type(o.input_io, "--inputIOFormats");
  if (!o.output_io.empty()) o.build.output_type = io_type(o.output_io, "--outputIOFormats");
  o.build.cache_folder = default_cache();
  if (!o.quiet) o.build.progress = show_progress();
  const BuildReport report = build(graph, o.build, o.output);
  if (!o.quiet) print_account(report);
  fmt::print("wrote {} in {:.1f} s\n", o.output, report.seconds);
}

void add_build_options(CLI::App* build, BuildArguments* o) {
  build->add_option("-o,--output,--saveEngine,--save-engine", o->output, "plan to write");
  build->add_option("--shapes", o->shapes, "INPUT:DIMS, each extent N or min..opt..max");
  build->add_option("--minShapes,--trt-min-shapes", o->min_shapes, "least extents");
  build->add_option("--optShapes,--trt-opt-shapes", o->opt_shapes, "extents tuned for");
  build->add_option("--maxShapes,--trt-max-shapes", o->max_shapes, "greatest extents");
  build->add_option("--threads", o->build.threads, "workers; 0: one per processor")
      ->check(CLI::Range(0, 1024));
  build->add_option("--timing-cache,--timingCacheFile,--load-timing-cache,--save-timing-cache",
                    o->build.timing_cache, "file of earlier timings");
  build->add_option("--budget", o->build.budget_seconds, "seconds for tuning")
      ->check(CLI::Range(0.0, 86400.0));
  build->add_flag("--deterministic", o->build.deterministic, "equal inputs, equal bytes");
  build
      ->add_option("--verify", o->verify,
                   "off, fast or full; without it fast, but nothing for a GPU that is not here")
      ->check(CLI::IsMember({"off", "fast", "full"}));
  build->add_option("--without", o->build.disabled_passes,
                    "leave out a rewrite or fusion by its name, as fuse_norm_product; repeatable");
  build->add_flag("--no-retune{false}", o->build.keep_source,
                  "leave the imported graph out of the plan");
  add_device(*build, o->build.device);
  build->add_option("--arch", o->build.architecture,
                    "GPU: sm_80, sm_86, sm_87, sm_89 or sm_90; without it the device's own");
  build->add_flag("--fp16", o->fp16, "GPU: weights and values between steps in float16");
  build->add_flag("--bf16", o->bf16, "GPU: the same in bfloat16");
  build->add_flag("--tf32", o->build.tf32, "GPU: float32 products may round their factors to TF32");
  build->add_flag("--no-libraries{false}", o->build.libraries,
                  "GPU: a plan that calls neither cuBLASLt nor cuDNN");
  build->add_flag("--noTF32", o->no_tf32, "true float32, as without it");
  build->add_option("--io", o->io,
                    "GPU: fp32 or fp16, what the plan takes and gives where the model has float32");
  build->add_option("--inputIOFormats", o->input_io, "GPU: the same of inputs, as fp16:chw");
  build->add_option("--outputIOFormats", o->output_io, "GPU: the same of outputs");
  // What these of trtexec ask for is so in any case.
  build->add_flag("--skipInference,--stronglyTyped,--strongly-typed", o->as_always,
                  "as always: only a build, types as in the model");
  build->add_flag("-q,--quiet", o->quiet, "no progress, no account");
}

void add_build(CLI::App& app) {
  struct Options {
    std::string model;
    BuildArguments build;
  };
  auto o = std::make_shared<Options>();
  CLI::App* build = app.add_subcommand("build", "ONNX model to a verified plan");
  build->add_option("model,--onnx", o->model, "ONNX file, or a plan to build again");
  add_build_options(build, &o->build);
  build->callback([o] {
    const std::string& plan = o->build.output;
    if (o->model.empty())
      throw Error(Code::usage, "give the model: vitrail build MODEL.onnx -o PLAN.vitrail");
    require_distinct(o->model, plan);
    require_output(o->build);
    if (!is_plan(o->model)) return build_plan(Graph::import_onnx(o->model), o->build);
    const BuildOptions old =
        options_of_plan(o->model);  // the plan's promises stay, unless others are asked for
    o->build.build.shapes = old.shapes;
    o->build.build.profiles = old.profiles;
    o->build.build.deterministic |= old.deterministic;
    build_plan(Graph::from_plan(o->model), o->build);
  });
}

}  // namespace vitrail::cli
