// SPDX-License-Identifier: Apache-2.0
#include <unordered_map>

#include "base/error.h"
#include "plan/tables.h"
#include "plan_generated.h"

namespace vitrail {
namespace {
class TextTable {
 public:
  uint32_t operator()(const std::string& text) {
    const auto [found, added] = index_.try_emplace(text, static_cast<uint32_t>(texts.size()));
    if (added) texts.push_back(text);
    return found->second;
  }
  std::vector<std::string> texts;

 private:
  std::unordered_map<std::string, uint32_t> index_;
};

class Encoder {
 public:
  explicit Encoder(const StoreBlob& store) : store_(store) {}

  std::vector<std::byte> run(const Plan& plan) {
    fb::TargetT t;
    t.model_name = text_(plan.model_name);
    t.model_hash = text_(plan.model_hash);
    t.target = text_(plan.target);
    t.tuned_for = text_(plan.tuned_for);
    t.tuned_isa = plan.tuned_isa, t.tuned_threads = plan.tuned_threads;
    for (const PlanSymbol& s : plan.symbols) {
      auto& out = add(t.symbols);
      out.name = text_(s.name);
      out.kind = static_cast<uint8_t>(s.kind);
      out.min = s.min, out.opt = s.opt, out.max = s.max;
      out.bound = expr(s.bound);
      for (const PlanSymbol::Profile& p : s.profiles)
        out.profiles.insert(out.profiles.end(), {p.min, p.opt, p.max});
    }
    t.guards = guards(plan.guards);
    for (const PlanBuffer& b : plan.buffers) {
      auto& out = add(t.buffers);
      out.kind = static_cast<uint8_t>(b.kind);
      out.bytes = expr(b.bytes);
      out.first = b.first, out.last = b.last;
      out.constant = b.constant, out.io = b.io;
    }
    for (const PlanValue& v : plan.values) {
      auto& out = add(t.values);
      out.name = text_(v.name);
      out.dtype = static_cast<uint8_t>(v.dtype);
      out.dims = exprs(v.dims);
      out.buffer = v.buffer;
      out.offset = expr(v.offset);
      out.strides = exprs(v.strides);
    }
    for (const PlanTensorInfo& io : plan.inputs) t.inputs.emplace_back(text_(io.name), io.value);
    for (const PlanTensorInfo& io : plan.outputs) t.outputs.emplace_back(text_(io.name), io.value);
    for (const Tensor& c : plan.constants) t.constants.push_back(tensor(c));
    t.steps = block(plan.steps);
    for (const auto& [key, value] : plan.metadata)
      t.metadata.emplace_back(text_(key), text_(value));
    if (!plan.source_graph.empty())
      t.source_graph = static_cast<int32_t>(store_(as_bytes(plan.source_graph)));
    for (const Tensor& c : plan.source_constants) t.source_constants.push_back(tensor(c));
    for (const Tensor& m : plan.modules) t.modules.push_back(tensor(m));
    t.strings = text_.texts;
    t.exprs = expr_.texts;
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(fb::Target::Pack(builder, &t));
    const auto* bytes = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
    return {bytes, bytes + builder.GetSize()};
  }

 private:
  template <typename T>
  static T& add(std::vector<std::unique_ptr<T>>& list) {
    return *list.emplace_back(std::make_unique<T>());
  }
  uint32_t expr(const Expr& e) { return expr_(e.str()); }
  std::vector<uint32_t> exprs(const Shape& shape) {
    std::vector<uint32_t> out;
    for (const Expr& e : shape) out.push_back(expr(e));
    return out;
  }
  std::vector<uint32_t> texts(const std::vector<std::string>& list) {
    std::vector<uint32_t> out;
    for (const std::string& s : list) out.push_back(text_(s));
    return out;
  }
  std::unique_ptr<fb::TensorT> tensor(const Tensor& from) {
    auto out = std::make_unique<fb::TensorT>();
    out->dtype = static_cast<uint8_t>(from.dtype());
    out->dims = from.dims();
    out->blob = store_({static_cast<const std::byte*>(from.raw()), from.bytes()});
    return out;
  }
  std::vector<std::unique_ptr<fb::OperandT>> operands(const std::vector<Operand>& list) {
    std::vector<std::unique_ptr<fb::OperandT>> out;
    for (const Operand& o : list) {
      auto& t = add(out);
      t.dtype = static_cast<uint8_t>(o.dtype);
      t.dims = exprs(o.dims);
      t.strides = exprs(o.strides);
      t.constant = o.constant;
    }
    return out;
  }
  std::unique_ptr<fb::ProblemT> problem(const Problem& p) {
    auto out = std::make_unique<fb::ProblemT>();
    out->family = text_(p.family);
    out->inputs = operands(p.inputs);
    out->outputs = operands(p.outputs);
    for (const auto& [key, value] : p.ints) out->ints.emplace_back(text_(key), value);
    for (const auto& [key, value] : p.floats) out->floats.emplace_back(text_(key), value);
    out->program_inputs = p.epilogue.inputs;
    for (const PointwiseInstr& in : p.epilogue.code)
      out->program.emplace_back(static_cast<uint8_t>(in.op), in.a, in.b, in.imm);
    out->results = p.epilogue.results;
    out->epilogue_inputs = p.epilogue_inputs;
    out->fixed_order = p.fixed_order;
    return out;
  }
  std::unique_ptr<fb::ChoiceT> choice(const KernelChoice& c) {
    auto out = std::make_unique<fb::ChoiceT>();
    for (const auto& [name, range] : c.when)
      out->when.emplace_back(text_(name), range.low, range.high);
    out->kernel = text_(c.kernel);
    for (const auto& [key, value] : c.tactic) out->tactic.emplace_back(text_(key), value);
    out->code = c.module;
    for (const GpuLaunch& l : c.launches) {
      auto& t = add(out->launches);
      t.entry = text_(l.entry);
      t.grid = exprs({l.grid.begin(), l.grid.end()});
      t.threads = l.threads;
      t.shared_bytes = l.shared_bytes;
      t.numbers = exprs(l.numbers);
      t.cluster = l.cluster;
      if (!l.library) continue;
      t.call = std::make_unique<fb::CallT>();
      t.call->library = text_(l.library->library);
      t.call->version = l.library->version;
      t.call->operation = text_(l.library->operation);
      for (const auto& [key, e] : l.library->numbers)
        t.call->numbers.emplace_back(text_(key), expr(e));
    }
    if (!c.launches.empty()) {
      out->workspace_bytes = static_cast<int32_t>(expr(c.workspace_bytes));
      out->counters = static_cast<int32_t>(expr(c.counters));
    }
    out->full_edge = c.full_edge;
    out->division = static_cast<uint8_t>(c.division);
    return out;
  }
  std::unique_ptr<fb::AttrT> attr(const std::string& name, const AttrValue& value) {
    auto out = std::make_unique<fb::AttrT>();
    out->name = text_(name);
    out->kind = static_cast<uint8_t>(value.index());
    switch (static_cast<AttrKind>(value.index())) {
      case AttrKind::integer:
        out->integer = std::get<int64_t>(value);
        break;
      case AttrKind::number:
        out->number = std::get<double>(value);
        break;
      case AttrKind::text:
        out->text = text_(std::get<std::string>(value));
        break;
      case AttrKind::integers:
        out->integers = std::get<std::vector<int64_t>>(value);
        break;
      case AttrKind::numbers:
        out->numbers = std::get<std::vector<double>>(value);
        break;
      case AttrKind::texts:
        out->texts = texts(std::get<std::vector<std::string>>(value));
        break;
      case AttrKind::tensor:
        out->tensor = tensor(std::get<Tensor>(value));
        break;
    }
    return out;
  }
  static std::vector<std::unique_ptr<fb::IntsT>> lists(const std::vector<std::vector<int>>& from) {
    std::vector<std::unique_ptr<fb::IntsT>> out;
    for (const std::vector<int>& list : from) add(out).list = list;
    return out;
  }
  std::vector<fb::Guard> guards(const std::vector<PlanGuard>& from) {
    std::vector<fb::Guard> out;
    for (const PlanGuard& g : from) out.emplace_back(expr(g.a), expr(g.b));
    return out;
  }
  std::vector<std::unique_ptr<fb::StepT>> block(const Block& steps) {
    std::vector<std::unique_ptr<fb::StepT>> out;
    for (const Step& s : steps) {
      auto& t = add(out);
      t.kind = static_cast<uint8_t>(s.kind);
      t.name = text_(s.name);
      t.sources = texts(s.sources);
      t.inputs = s.inputs, t.outputs = s.outputs;
      if (s.kind == Step::Kind::launch) t.problem = problem(s.problem);
      for (const KernelChoice& c : s.choices) t.choices.push_back(choice(c));
      t.together = s.together;
      for (const JointLaunch& j : s.joints) {
        auto& joint = add(t.joints);
        joint.choices.assign(j.choices.begin(), j.choices.end());
        joint.code = choice(j.code);
      }
      t.domain = text_(s.domain);
      t.op = text_(s.op);
      for (const auto& [name, value] : s.attrs.all()) t.attrs.push_back(attr(name, value));
      for (const Step::DataExtent& d : s.data_extents)
        t.data_extents.emplace_back(d.output, d.axis, text_(d.symbol));
      for (size_t i = 0; i < s.blocks.size(); ++i) {
        auto& out_block = add(t.blocks);
        out_block.steps = block(s.blocks[i]);
        if (i < s.block_guards.size()) out_block.guards = guards(s.block_guards[i]);
      }
      t.block_inputs = lists(s.block_inputs);
      t.block_outputs = lists(s.block_outputs);
    }
    return out;
  }

  const StoreBlob& store_;
  TextTable text_, expr_;
};
}  // namespace

std::vector<std::byte> encode_target(const Plan& plan, const StoreBlob& store) {
  return Encoder(store).run(plan);
}

std::vector<std::byte> encode_record(std::span<const Plan* const> targets,
                                     const std::string& written) {
  fb::RecordT record;
  record.written = written;
  for (const Plan* plan : targets) {
    auto& t = *record.targets.emplace_back(std::make_unique<fb::TargetRecordT>());
    for_each_choice(plan->steps,
                    [&](const KernelChoice& c) { t.microseconds.push_back(c.microseconds); });
    for_each_step(plan->steps, [&](const Step& s) {
      t.trials.emplace_back(std::make_unique<fb::LinesT>())->list = s.trials;
    });
    t.account = plan->account;
    for (const VerificationRow& r : plan->verification) {
      auto& row = *t.verification.emplace_back(std::make_unique<fb::VerificationRowT>());
      row.output = r.output, row.at = r.at;
      row.abs_max = r.abs_max, row.abs_mean = r.abs_mean, row.abs_median = r.abs_median;
      row.rel_max = r.rel_max, row.rel_mean = r.rel_mean, row.rel_median = r.rel_median;
      row.cosine = r.cosine, row.sqnr_db = r.sqnr_db, row.ok = r.ok;
    }
  }
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::Record::Pack(builder, &record));
  const auto* bytes = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {bytes, bytes + builder.GetSize()};
}

}  // namespace vitrail
