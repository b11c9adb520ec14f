// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "api/memory.h"
#include "backends/cuda/library.h"
#include "base/error.h"
#include "base/file.h"
#include "kernels/gpu_kernel.h"
#include "plan/plan_file.h"
#include "vitrail/check.h"

namespace vitrail {
namespace {

using Json = nlohmann::ordered_json;

// The typical GPU of the plan's architecture, "cuda:sm_90a".
GpuMachine gpu_of(const Plan& plan) {
  constexpr std::string_view kPrefix = "cuda:sm_";
  int sm = 0;
  if (plan.target.starts_with(kPrefix))
    std::from_chars(plan.target.data() + kPrefix.size(), plan.target.data() + plan.target.size(),
                    sm);
  GpuMachine machine = typical_gpu(sm);
  machine.cublas_lt = machine.cudnn = {1, ""};
  // Whether the build had the libraries, its account says.
  constexpr std::string_view kNone = "calls no library, ";
  for (const std::string& line : plan.account)
    if (line.starts_with(kNone)) machine.cublas_lt = machine.cudnn = {0, line.substr(kNone.size())};
  return machine;
}

std::string join(const std::vector<std::string>& list, const char* between) {
  std::string out;
  for (const std::string& s : list) out += (out.empty() ? "" : between) + s;
  return out;
}

Json model_json(const std::string& path) {
  const Graph g = Graph::import_onnx(path);
  Json out{{"kind", "onnx"}, {"nodes", g.node_count()}, {"weight_bytes", g.weight_bytes()}};
  const auto tensors = [](const std::vector<Graph::TensorInfo>& list) {
    Json all = Json::array();
    for (const auto& t : list)
      all.push_back({{"name", t.name}, {"type", name_of(t.dtype)}, {"dims", t.dims}});
    return all;
  };
  out["inputs"] = tensors(g.inputs());
  out["outputs"] = tensors(g.outputs());
  out["ops"] = g.op_counts();
  out["metadata"] = g.metadata();
  out["warnings"] = g.warnings();
  return out;
}

// Why each compiled-in kernel of the step's family would not run it: on this processor, or on the
// kind of GPU that the plan is for.
Json refusals(const Step& step, const Plan& plan) {
  Json out = Json::array();
  if (plan.target != "cpu") {
    for (const GpuKernel* kernel : all_gpu_kernels()) {
      if (step.problem.family != kernel->family) continue;
      const Refusal why = kernel->accepts(step.problem, gpu_of(plan));
      if (!why.empty()) out.push_back({{"kernel", kernel->name}, {"reason", why}});
    }
    return out;
  }
  for (const CpuKernel* kernel : all_cpu_kernels()) {
    if (step.problem.family != kernel->family) continue;
    const Refusal why = kernel->accepts(step.problem);
    if (!why.empty())
      out.push_back({{"kernel", kernel->name}, {"reason", why}});
    else if (kernel->isa > this_machine().isa)
      out.push_back(
          {{"kernel", kernel->name}, {"reason", fmt::format("needs {}", name_of(kernel->isa))}});
  }
  return out;
}

const char* heuristic_kernel(const Step& step) {
  for (const CpuKernel* kernel : all_cpu_kernels())
    if (step.problem.family == kernel->family && kernel->isa <= this_machine().isa &&
        kernel->accepts(step.problem).empty())
      return kernel->name;
  return "none";
}

// "N 3..14": where a choice holds; empty: wherever no other does.
std::string when_text(const Ranges& when) {
  std::string out;
  for (const auto& [symbol, range] : when)
    out += fmt::format("{}{} {}..{}", out.empty() ? "" : ", ", symbol, range.low, range.high);
  return out;
}

void steps_json(const Block& block, const Plan& plan, const InspectOptions& options, Json& out) {
  for (const Step& step : block) {
    Json s{{"name", step.name}, {"sources", step.sources}};
    if (step.kind == Step::Kind::launch) {
      s["family"] = step.problem.family;
      s["problem"] = step.problem.str();
      s["kernels"] = Json::array();
      for (const KernelChoice& c : step.choices)
        s["kernels"].push_back({{"kernel", c.kernel},
                                {"tactic", to_string(c.tactic)},
                                {"when", when_text(c.when)},
                                {"microseconds", c.microseconds}});
      for (size_t i = 0; i < step.choices.size(); ++i) {
        const KernelChoice& c = step.choices[i];
        if (c.full_edge) s["kernels"][i]["edge"] = "full";
        if (c.division == Division::shared) s["kernels"][i]["memory"] = "shared";
      }
      for (size_t i = 0; i < step.choices.size(); ++i)
        for (const GpuLaunch& launch : step.choices[i].launches)
          if (launch.library)
            s["kernels"][i]["library"] =
                cuda::version_text(launch.library->library, launch.library->version);
      if (step.choices.empty())
        s["kernels"].push_back({{"kernel", heuristic_kernel(step)}, {"tactic", "heuristic"}});
      if (options.why) s["refused"] = refusals(step, plan);
      if (options.why) s["tried"] = step.trials;
    } else {
      s["op"] = step.kind == Step::Kind::host     ? step.op
                : step.kind == Step::Kind::branch ? "If"
                                                  : "Loop";
      s["kernels"] = Json::array({{{"kernel", "reference"}}});
    }
    out.push_back(std::move(s));
    for (const Block& inner : step.blocks) steps_json(inner, plan, options, out);
  }
}

Json plan_json(const std::string& path, const InspectOptions& options) {
  const PlanFile file = load_plan_file(path);
  Json out{{"kind", "plan"},
           {"weight_bytes", file.weight_bytes},
           {"source_bytes", file.source_bytes},
           {"content", file.content.str()},
           {"written", file.written},
           {"targets", Json::array()}};
  for (const auto& plan : file.targets) {
    Json t{{"target", plan->target}, {"model", plan->model_name}, {"tuned_for", plan->tuned_for}};
    const auto tensors = [&](const std::vector<PlanTensorInfo>& list) {
      Json all = Json::array();
      for (const PlanTensorInfo& info : list) {
        const PlanValue& v = plan->values[static_cast<size_t>(info.value)];
        all.push_back(
            {{"name", info.name}, {"type", name_of(v.dtype)}, {"dims", to_string(v.dims)}});
      }
      return all;
    };
    t["inputs"] = tensors(plan->inputs);
    t["outputs"] = tensors(plan->outputs);
    t["ranges"] = Json::array();
    for (const PlanSymbol& s : plan->symbols)
      if (s.kind == PlanSymbol::Kind::input)
        t["ranges"].push_back({{"symbol", s.name}, {"min", s.min}, {"opt", s.opt}, {"max", s.max}});
    t["model_hash"] = plan->model_hash;
    t["working_bytes"] = working_memory(*plan);
    t["retunable"] = !plan->source_graph.empty();
    t["metadata"] = plan->metadata;
    t["account"] = plan->account;
    t["verification"] = Json::array();
    for (const VerificationRow& v : plan->verification)
      t["verification"].push_back({{"output", v.output},
                                   {"at", v.at},
                                   {"abs_max", v.abs_max},
                                   {"abs_mean", v.abs_mean},
                                   {"abs_median", v.abs_median},
                                   {"cosine", v.cosine},
                                   {"ok", v.ok}});
    t["layers"] = Json::array();
    if (options.layers) steps_json(plan->steps, *plan, options, t["layers"]);
    out["targets"].push_back(std::move(t));
  }
  return out;
}

std::string dims_text(const Json& dims) {
  return dims.is_string() ? dims.get<std::string>()
                          : "[" + join(dims.get<std::vector<std::string>>(), ",") + "]";
}

void tensors_text(const Json& list, const char* what, std::string& out) {
  for (const Json& t : list)
    out += fmt::format("{} {}: {}{}\n", what, printable(t["name"].get<std::string>()),
                       t["type"].get<std::string>(), dims_text(t["dims"]));
}

std::string model_text(const Json& j) {
  std::string out =
      fmt::format("ONNX model, {} nodes, weights {:.1f} MiB\n", j["nodes"].get<size_t>(),
                  j["weight_bytes"].get<double>() / 1048576.0);
  tensors_text(j["inputs"], "input ", out);
  tensors_text(j["outputs"], "output", out);
  for (const auto& [op, count] : j["ops"].items())
    out += fmt::format("  {:6} {}\n", count.get<int>(), op);
  for (const auto& [key, value] : j["metadata"].items())
    out += fmt::format("metadata {} = {}\n", printable(key), printable(value.get<std::string>()));
  for (const Json& w : j["warnings"]) out += "warning: " + w.get<std::string>() + "\n";
  return out;
}

std::string plan_text(const Json& j, const InspectOptions& options) {
  std::string out;
  for (const Json& t : j["targets"]) {
    out += fmt::format("plan of '{}' for {}, {}, weights {:.1f} MiB, {} steps\n",
                       printable(t["model"].get<std::string>()), t["target"].get<std::string>(),
                       t["tuned_for"].get<std::string>().empty()
                           ? "not tuned"
                           : "tuned for " + t["tuned_for"].get<std::string>(),
                       j["weight_bytes"].get<double>() / 1048576.0, t["layers"].size());
    tensors_text(t["inputs"], "input ", out);
    tensors_text(t["outputs"], "output", out);
    for (const Json& r : t["ranges"])
      out += fmt::format("range  {}: {}..{}..{}\n", r["symbol"].get<std::string>(),
                         r["min"].get<int64_t>(), r["opt"].get<int64_t>(), r["max"].get<int64_t>());
    if (t["working_bytes"].get<uint64_t>() > 0)
      out += fmt::format("working memory {:.1f} MiB at the opt shapes\n",
                         t["working_bytes"].get<double>() / 1048576.0);
    out += fmt::format(
        "content {}{}{}\n", j["content"].get<std::string>(),
        j["written"].get<std::string>().empty() ? ""
                                                : ", written " + j["written"].get<std::string>(),
        t["retunable"].get<bool>() ? "; keeps the model, so `vitrail build` can tune it again"
                                   : "; keeps no model to tune again from");
    for (const Json& l : t["account"]) out += l.get<std::string>() + "\n";
    for (const Json& v : t["verification"])
      out += fmt::format(
          "verified '{}' at {}: abs error max {:.3g} mean {:.3g} median {:.3g}, cosine {:.8f}\n",
          v["output"].get<std::string>(), v["at"].get<std::string>(), v["abs_max"].get<double>(),
          v["abs_mean"].get<double>(), v["abs_median"].get<double>(), v["cosine"].get<double>());
    size_t i = 0;
    for (const Json& s : t["layers"]) {
      out += fmt::format(
          "{:4} {:16} {}", i++,
          s.contains("family") ? s["family"].get<std::string>() : s["op"].get<std::string>(),
          printable(s["name"].get<std::string>(), 80));
      for (const Json& k : s["kernels"]) {
        out += "  " + k["kernel"].get<std::string>();
        if (k.contains("library")) out += fmt::format(" ({})", k["library"].get<std::string>());
        if (k.contains("microseconds") && k["microseconds"].get<double>() > 0)
          out += fmt::format(" {:.1f} us", k["microseconds"].get<double>());
        if (k.contains("edge")) out += ", full edge";
        if (k.contains("memory")) out += ", most memory shared";
        if (k.contains("when") && !k["when"].get<std::string>().empty())
          out += fmt::format(" ({})", printable(k["when"].get<std::string>()));
      }
      const auto sources = s["sources"].get<std::vector<std::string>>();
      if (!sources.empty())
        out +=
            fmt::format("  <- {}{}", printable(sources[0]),
                        sources.size() > 1 ? fmt::format(" and {} more", sources.size() - 1) : "");
      out += "\n";
      if (options.why && s.contains("refused"))
        for (const Json& line : s["tried"])
          out += fmt::format("       tried {}\n", line.get<std::string>());
      if (options.why && s.contains("refused"))
        for (const Json& r : s["refused"])
          out += fmt::format("       {}: {}\n", r["kernel"].get<std::string>(),
                             r["reason"].get<std::string>());
    }
  }
  return out;
}

}  // namespace

std::string inspect(const std::string& path, const InspectOptions& options) {
  const auto file = MappedFile::open(path);
  const bool plan =
      looks_like_plan(file->bytes().first(std::min<size_t>(file->bytes().size(), 128)));
  const Json j = plan ? plan_json(path, options) : model_json(path);
  if (options.json) return j.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  return plan ? plan_text(j, options) : model_text(j);
}

}  // namespace vitrail
