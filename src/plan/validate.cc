// SPDX-License-Identifier: Apache-2.0
#include "plan/validate.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace vitrail {
namespace {
constexpr int kMaxDepth = 16;  // blocks within blocks
constexpr size_t kMaxRank = 32, kMaxLaunches = 64;
constexpr size_t kMaxBuffers = 1 << 16;  // the arena packer compares them pairwise
constexpr int64_t kMaxExtent = int64_t{1} << 40;

using BufferKind = PlanBuffer::Kind;

class Checker {
 public:
  explicit Checker(const Plan& plan) : plan_(plan) {}

  void run() {
    symbols();
    require(plan_.buffers.size() <= kMaxBuffers, Code::bad_input,
            "{} buffers, at most {} are allowed", plan_.buffers.size(), kMaxBuffers);
    steps_ = count_steps(plan_.steps);
    for (const PlanGuard& guard : plan_.guards) known(guard.a), known(guard.b);
    for (size_t i = 0; i < plan_.buffers.size(); ++i)
      with_context(fmt::format("buffer {}", i), [&] { buffer(plan_.buffers[i]); });
    for (size_t i = 0; i < plan_.values.size(); ++i)
      with_context(fmt::format("value {} '{}'", i, printable(plan_.values[i].name)),
                   [&] { value(plan_.values[i]); });
    for (const Tensor& t : plan_.constants) constant(t);
    for (const Tensor& m : plan_.modules)
      require(m.dtype() == DType::u8 && m.size() > 0, Code::bad_input,
              "a module of machine code is {}{}", name_of(m.dtype()), to_string(m.dims()));
    io(plan_.inputs, "input");
    io(plan_.outputs, "output");
    block(plan_.steps, 0);
    windows();
  }

 private:
  void symbols() {
    std::set<std::string> all;
    const PlanSymbol* first = nullptr;
    for (const PlanSymbol& s : plan_.symbols) {
      const std::string shown = printable(s.name);
      require(is_name(s.name), Code::bad_input, "'{}' is no name for a symbol", shown);
      require(all.insert(s.name).second, Code::bad_input, "symbol '{}' is declared twice", shown);
      if (s.kind == PlanSymbol::Kind::data) continue;
      require(0 <= s.min && s.min <= s.opt && s.opt <= s.max && s.max <= kMaxExtent,
              Code::bad_input, "symbol '{}': range {}..{}..{} is not 0 <= min <= opt <= max <= {}",
              shown, s.min, s.opt, s.max, kMaxExtent);
      names_.insert(s.name);
      if (s.kind != PlanSymbol::Kind::input) continue;
      if (!first) first = &s;
      require(s.profiles.size() == first->profiles.size(), Code::bad_input,
              "symbol '{}' has {} ranges, '{}' {}", shown, s.profiles.size(),
              printable(first->name), first->profiles.size());
      for (const PlanSymbol::Profile& p : s.profiles)
        require(s.min <= p.min && p.min <= p.opt && p.opt <= p.max && p.max <= s.max,
                Code::bad_input, "symbol '{}': range {}..{}..{} in {}..{}", shown, p.min, p.opt,
                p.max, s.min, s.max);
    }
    // Bounds use input symbols and earlier data symbols, so that they can be evaluated in order.
    for (const PlanSymbol& s : plan_.symbols) {
      if (s.kind != PlanSymbol::Kind::data) continue;
      known(s.bound);
      names_.insert(s.name);
    }
  }
  static bool is_name(const std::string& name) {
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
    const Expr read = Expr::parse(name);
    std::set<std::string> symbols;
    read.collect_symbols(symbols);
    return symbols.size() == 1 && *symbols.begin() == name && read == Expr::symbol(name);
  }
  void known(const Expr& e) const {
    if (e.is_constant()) return;
    std::set<std::string> used;
    e.collect_symbols(used);
    for (const std::string& name : used)
      require(names_.count(name), Code::bad_input,
              "expression '{}' uses the undeclared symbol '{}'", printable(e.str()),
              printable(name));
  }
  void known(const Shape& shape) const {
    for (const Expr& e : shape) known(e);
  }
  static void index(int i, size_t size, const char* what) {
    require(0 <= i && static_cast<size_t>(i) < size, Code::bad_input, "{} {} of {}", what, i, size);
  }
  static void type(DType dtype) {
    require(size_of(dtype) != 0, Code::bad_input, "element type {} cannot be stored",
            name_of(dtype));
  }

  void buffer(const PlanBuffer& b) const {
    known(b.bytes);
    if (b.kind == BufferKind::constant) index(b.constant, plan_.constants.size(), "constant");
    if (b.kind == BufferKind::input) index(b.io, plan_.inputs.size(), "input");
    if (b.kind == BufferKind::output) index(b.io, plan_.outputs.size(), "output");
    if (b.kind == BufferKind::arena)
      require(0 <= b.first && b.first <= b.last && b.last < std::max(steps_, 1), Code::bad_input,
              "lives from step {} to {} of {}", b.first, b.last, steps_);
  }
  void value(const PlanValue& v) const {
    type(v.dtype);
    require(v.dims.size() == v.strides.size() && v.dims.size() <= kMaxRank, Code::bad_input,
            "{} extents and {} strides", v.dims.size(), v.strides.size());
    index(v.buffer, plan_.buffers.size(), "buffer");
    known(v.dims), known(v.strides), known(v.offset);
  }
  static void constant(const Tensor& t) {
    if (t.dtype() != DType::boolean) return;
    // Another byte read as a bool is undefined behaviour.
    const auto* bytes = static_cast<const uint8_t*>(t.raw());
    require(std::all_of(bytes, bytes + t.bytes(), [](uint8_t b) { return b <= 1; }),
            Code::bad_input, "a boolean constant holds bytes other than 0 and 1");
  }
  void io(const std::vector<PlanTensorInfo>& list, const char* what) const {
    const bool inputs = &list == &plan_.inputs;
    std::set<std::string> seen;
    for (size_t i = 0; i < list.size(); ++i) {
      with_context(fmt::format("{} '{}'", what, printable(list[i].name)), [&] {
        require(seen.insert(list[i].name).second, Code::bad_input, "the name occurs twice");
        index(list[i].value, plan_.values.size(), "value");
        const PlanValue& v = plan_.values[list[i].value];
        const PlanBuffer& b = plan_.buffers[v.buffer];
        const BufferKind wanted = inputs ? BufferKind::input : BufferKind::output;
        require(!inputs || b.kind == wanted, Code::bad_input, "its buffer is of another kind");
        if (b.kind != wanted) return;  // an output that is a view of something else is copied out
        require(b.io == static_cast<int>(i), Code::bad_input, "its buffer belongs to {} {}", what,
                b.io);
        require(v.offset.is(0) && v.strides == row_major(v.dims), Code::bad_input,
                "expected a dense row-major tensor, found extents {}, strides {}, offset {}",
                to_string(v.dims), to_string(v.strides), v.offset.str());
      });
    }
  }

  // --- steps
  void operands(const std::vector<int>& values, bool may_be_absent, bool written) const {
    for (const int v : values) {
      if (v == -1 && may_be_absent) continue;
      index(v, plan_.values.size(), "value");
      const BufferKind kind = plan_.buffers[plan_.values[v].buffer].kind;
      require(!written || kind == BufferKind::arena || kind == BufferKind::output, Code::bad_input,
              "writes value '{}', which is {}", printable(plan_.values[v].name),
              kind == BufferKind::input ? "an input" : "a constant");
    }
  }
  void block(const Block& steps, int depth) const {
    require(depth <= kMaxDepth, Code::bad_input, "blocks are nested more than {} deep", kMaxDepth);
    for (const Step& s : steps)
      with_context(fmt::format("step '{}'", printable(s.name)), [&] {
        using K = Step::Kind;
        operands(s.inputs, s.kind == K::host || s.kind == K::loop, false);
        operands(s.outputs, s.kind == K::host, true);
        for (const Step::DataExtent& d : s.data_extents) {
          index(d.output, s.outputs.size(), "output");
          require(s.outputs[d.output] >= 0, Code::bad_input, "output {} is absent", d.output);
          index(d.axis, plan_.values[s.outputs[d.output]].dims.size(), "axis");
          const auto found = std::find_if(plan_.symbols.begin(), plan_.symbols.end(),
                                          [&](const PlanSymbol& p) { return p.name == d.symbol; });
          require(found != plan_.symbols.end() && found->kind == PlanSymbol::Kind::data,
                  Code::bad_input, "'{}' is no data symbol", printable(d.symbol));
        }
        if (s.kind == K::launch) launch(s);
        if (s.kind == K::branch) branch(s);
        if (s.kind == K::loop) loop(s);
        require(s.block_guards.empty() || s.block_guards.size() == s.blocks.size(), Code::bad_input,
                "guards of {} blocks, there are {}", s.block_guards.size(), s.blocks.size());
        for (const auto& guards : s.block_guards)
          for (const PlanGuard& guard : guards) known(guard.a), known(guard.b);
        if (s.kind == K::launch || s.kind == K::host)
          require(s.blocks.empty(), Code::bad_input, "only branches and loops have blocks");
        for (const Block& b : s.blocks) block(b, depth + 1);
        together({steps.data() + (&s - steps.data()), steps.data() + steps.size()});
      });
  }
  // Of the first of these steps.
  void together(std::span<const Step> steps) const {
    const auto count = static_cast<size_t>(std::max(steps[0].together, 0));
    require(1 <= count && count <= steps.size() && (count > 1 || steps[0].joints.empty()),
            Code::bad_input, "{} steps together of {}", steps[0].together, steps.size());
    for (size_t i = 0; count > 1 && i < count; ++i)
      require(steps[i].kind == Step::Kind::launch && (i == 0 || steps[i].together == 1),
              Code::bad_input, "step {} of {} together is no launch, or is with others", i, count);
    for (const JointLaunch& joint : steps[0].joints) {
      require(joint.choices.size() == count && joint.code.launches.size() == 1 &&
                  !joint.code.launches[0].library,
              Code::bad_input, "a joint launch of {} steps for {}, with {} launches",
              joint.choices.size(), count, joint.code.launches.size());
      for (size_t i = 0; i < count; ++i) index(joint.choices[i], steps[i].choices.size(), "choice");
      device_code(joint.code);
    }
  }
  void launch(const Step& s) const {
    const Problem& p = s.problem;
    require(s.data_extents.empty(), Code::bad_input, "a launch cannot write symbols");
    require(p.inputs.size() == s.inputs.size() && p.outputs.size() == s.outputs.size() &&
                !p.outputs.empty(),
            Code::bad_input, "{} inputs and {} outputs for a problem of {} and {}", s.inputs.size(),
            s.outputs.size(), p.inputs.size(), p.outputs.size());
    for (size_t i = 0; i < s.inputs.size(); ++i) operand(p.inputs[i], s.inputs[i]);
    for (size_t i = 0; i < s.outputs.size(); ++i) operand(p.outputs[i], s.outputs[i]);
    require(0 <= p.epilogue_inputs && p.epilogue_inputs <= static_cast<int>(p.inputs.size()),
            Code::bad_input, "epilogue inputs begin at {} of {}", p.epilogue_inputs,
            p.inputs.size());
    program(p.epilogue);
    for (const KernelChoice& c : s.choices) {
      for (const auto& [name, range] : c.when)
        require(names_.count(name), Code::bad_input,
                "a choice depends on the undeclared symbol '{}'", printable(name));
      // So that what kernels round up and multiply stays far from the end of 64 bits.
      constexpr int64_t kMostTactic = int64_t{1} << 30;
      for (const auto& [name, value] : c.tactic)
        require(0 <= value && value <= kMostTactic, Code::bad_input,
                "a choice has the tactic {}={}, expected 0 to {}", printable(name), value,
                kMostTactic);
    }
    for (const KernelChoice& c : s.choices) device_code(c);
  }
  // Machine code itself is trusted; how it is launched is checked as far as it can be.
  void device_code(const KernelChoice& c) const {
    const bool own = std::any_of(c.launches.begin(), c.launches.end(),
                                 [](const GpuLaunch& l) { return !l.library; });
    require((c.module >= 0) == own, Code::bad_input, "kernel '{}' has {} launches and module {}",
            printable(c.kernel), c.launches.size(), c.module);
    if (c.launches.empty()) {
      require(!c.full_edge && c.division == Division::by_size, Code::bad_input,
              "kernel '{}' says how to launch what it has not", printable(c.kernel));
      return;
    }
    if (own) index(c.module, plan_.modules.size(), "module");
    known(c.workspace_bytes), known(c.counters);
    require(c.launches.size() <= kMaxLaunches, Code::bad_input, "kernel '{}' has {} launches",
            printable(c.kernel), c.launches.size());
    for (const GpuLaunch& l : c.launches) {
      for (const Expr& e : l.grid) known(e);
      known(l.numbers);
      require(1 <= l.threads && l.threads <= 1024 && 0 <= l.shared_bytes &&
                  l.shared_bytes <= 1 << 20 && 1 <= l.cluster && l.cluster <= 16,
              Code::bad_input,
              "a launch of {} threads with {} bytes of shared memory, {} a cluster", l.threads,
              l.shared_bytes, l.cluster);
      if (l.library) call(*l.library);
    }
  }
  // What the operation makes of its numbers is checked when it is prepared, at given extents.
  void call(const LibraryCall& call) const {
    require(call.library == "cublasLt" || call.library == "cudnn", Code::bad_input,
            "a call of the unknown library '{}'", printable(call.library));
    constexpr size_t kMostNumbers = 64;
    require(call.numbers.size() <= kMostNumbers, Code::bad_input, "a call of {} has {} numbers",
            call.library, call.numbers.size());
    for (const auto& [name, e] : call.numbers) known(e);
  }
  void operand(const Operand& o, int value) const {
    type(o.dtype);
    require(o.dims.size() == o.strides.size() && o.dims.size() <= kMaxRank, Code::bad_input,
            "an operand has {} extents and {} strides", o.dims.size(), o.strides.size());
    known(o.dims), known(o.strides);
    const PlanValue& v = plan_.values[value];
    const bool constant = plan_.buffers[v.buffer].kind == BufferKind::constant;
    require(!o.constant || constant, Code::bad_input, "operand '{}' must be a constant",
            printable(v.name));
    // A constant may be packed into another type; what a kernel computes with must be what is
    // there.
    require(o.constant || o.dtype == v.dtype, Code::bad_input,
            "operand '{}' is {}, the problem says {}", printable(v.name), name_of(v.dtype),
            name_of(o.dtype));
  }
  static void program(const PointwiseProgram& p) {
    require(1 <= p.inputs && p.inputs <= 1024 && p.code.size() <= 4096, Code::bad_input,
            "a pointwise program of {} inputs and {} instructions", p.inputs, p.code.size());
    int registers = p.inputs;
    for (const PointwiseInstr& in : p.code) {
      const int arity = arity_of(in.op);
      require((arity < 1 || (0 <= in.a && in.a < registers)) &&
                  (arity < 2 || (0 <= in.b && in.b < registers)),
              Code::bad_input, "pointwise instruction {} reads a register that nothing wrote",
              registers - p.inputs);
      ++registers;
    }
    require(!p.results.empty(), Code::bad_input, "a pointwise program without result");
    for (const int16_t r : p.results)
      require(0 <= r && r < registers, Code::bad_input, "pointwise result r{} of {} registers", r,
              registers);
  }
  void branch(const Step& s) const {
    require(s.inputs.size() == 1 && plan_.values[s.inputs[0]].dtype == DType::boolean &&
                s.blocks.size() == 2,
            Code::bad_input, "a branch needs one boolean input and two blocks, found {} and {}",
            s.inputs.size(), s.blocks.size());
    require(s.block_outputs.empty() || s.block_outputs.size() == 2, Code::bad_input,
            "outputs for {} of 2 blocks", s.block_outputs.size());
    for (const std::vector<int>& list : s.block_outputs) {
      require(list.empty() || list.size() == s.outputs.size(), Code::bad_input,
              "{} block outputs for {} outputs", list.size(), s.outputs.size());
      operands(list, true, false);
      for (size_t i = 0; i < list.size(); ++i)
        if (list[i] >= 0) same_type(list[i], s.outputs[i]);
    }
  }
  void loop(const Step& s) const {
    require(s.blocks.size() == 1 && s.block_inputs.size() == 1 && s.block_outputs.size() == 1 &&
                s.inputs.size() >= 2,
            Code::bad_input, "a loop needs one block and at least 2 inputs, found {} and {}",
            s.blocks.size(), s.inputs.size());
    const size_t carried = s.inputs.size() - 2;
    const std::vector<int>&in = s.block_inputs[0], &out = s.block_outputs[0];
    require(in.size() == carried + 2 && s.outputs.size() >= carried &&
                out.size() == s.outputs.size() + 1,
            Code::bad_input,
            "a loop of {} carried values has {} outputs, {} block inputs and {} block outputs",
            carried, s.outputs.size(), in.size(), out.size());
    operands(in, true, true);
    operands(out, true, false);
    require(s.inputs[0] >= 0 || out[0] >= 0, Code::bad_input,
            "a loop without trip count or condition would never end");
    const auto scalar = [&](int value, DType dtype) {
      if (value < 0) return;
      require(plan_.values[value].dtype == dtype, Code::bad_input,
              "value '{}': expected {}, found {}", printable(plan_.values[value].name),
              name_of(dtype), name_of(plan_.values[value].dtype));
    };
    scalar(s.inputs[0], DType::i64), scalar(s.inputs[1], DType::boolean);
    scalar(in[0], DType::i64), scalar(in[1], DType::boolean), scalar(out[0], DType::boolean);
    for (size_t i = 0; i < s.outputs.size(); ++i) {
      require(out[i + 1] >= 0, Code::bad_input, "block output {} is absent", i + 1);
      same_type(out[i + 1], s.outputs[i]);
      if (i >= carried) {
        require(!plan_.values[s.outputs[i]].dims.empty(), Code::bad_input,
                "stacked output {} has no axis", i);
        continue;
      }
      require(s.inputs[i + 2] >= 0 && in[i + 2] >= 0, Code::bad_input, "carried value {} is absent",
              i);
      same_type(s.inputs[i + 2], s.outputs[i]), same_type(in[i + 2], s.outputs[i]);
    }
  }
  void same_type(int a, int b) const {
    const PlanValue &x = plan_.values[a], &y = plan_.values[b];
    require(x.dtype == y.dtype, Code::bad_input, "'{}' is {} and '{}' is {}", printable(x.name),
            name_of(x.dtype), printable(y.name), name_of(y.dtype));
  }

  // --- windows at the corners of the range
  void windows() const {
    const std::vector<bool> guarded = guarded_values(plan_);
    for (const auto& [at, pick] :
         {std::pair{"min", &PlanSymbol::min}, {"opt", &PlanSymbol::opt}, {"max", &PlanSymbol::max}})
      for (const bool empty : {false, true}) {
        Bindings at_point = symbols_at(plan_, pick);
        bool data = false;
        for (const PlanSymbol& s : plan_.symbols) {
          data |= s.kind == PlanSymbol::Kind::data;
          require(at_point[s.name] >= 0, Code::bad_input, "symbol '{}' has the bound {} at {}",
                  printable(s.name), at_point[s.name], at);
        }
        if (empty && !data) continue;
        std::vector<int64_t> bytes;
        for (const PlanBuffer& b : plan_.buffers) {
          bytes.push_back(b.bytes.eval(at_point));
          require(bytes.back() >= 0, Code::bad_input, "buffer {} has {} bytes at {}",
                  bytes.size() - 1, bytes.back(), at);
          if (b.kind == BufferKind::constant)
            require(static_cast<uint64_t>(bytes.back()) <= plan_.constants[b.constant].bytes(),
                    Code::bad_input, "buffer {} is larger than its constant", bytes.size() - 1);
        }
        // Data symbols lie between 0 and their bounds; the buffers are sized for the bounds.
        if (empty)
          for (const PlanSymbol& s : plan_.symbols)
            if (s.kind == PlanSymbol::Kind::data) at_point[s.name] = 0;
        // What is used only where guards of a block hold is checked when it is bound.
        for (size_t v = 0; v < plan_.values.size(); ++v)
          if (!guarded[v]) window(plan_.values[v], at_point, bytes, at);
      }
  }
  static void window(const PlanValue& v, const Bindings& at_point,
                     const std::vector<int64_t>& bytes, const char* at) {
    const Span span = span_of(eval(v.dims, at_point), eval(v.strides, at_point));
    if (span.last < span.first) return;
    const int64_t offset = v.offset.eval(at_point),
                  capacity = bytes[v.buffer] / static_cast<int64_t>(size_of(v.dtype));
    require(checked_add(offset, span.first) >= 0 && checked_add(offset, span.last) < capacity,
            Code::bad_input,
            "value '{}' reaches from element {} to {} of buffer {}, which has {} at {}",
            printable(v.name), offset + span.first, offset + span.last, v.buffer, capacity, at);
  }

  const Plan& plan_;
  std::set<std::string> names_;
  int steps_ = 0;
};
}  // namespace

namespace {
void mark_values(const Step& step, std::vector<bool>& marked) {
  const auto mark = [&](const std::vector<int>& values) {
    for (const int v : values)
      if (v >= 0) marked[static_cast<size_t>(v)] = true;
  };
  mark(step.inputs), mark(step.outputs);
  for (const auto& list : step.block_inputs) mark(list);
  for (const auto& list : step.block_outputs) mark(list);
}
void mark_guarded(const Block& block, bool inside, std::vector<bool>& guarded,
                  std::vector<bool>& free) {
  for (const Step& step : block) {
    mark_values(step, inside ? guarded : free);
    for (size_t i = 0; i < step.blocks.size(); ++i)
      mark_guarded(step.blocks[i], inside || has_guards(step, i), guarded, free);
  }
}
}  // namespace

bool has_guards(const Step& step, size_t block) {
  return block < step.block_guards.size() && !step.block_guards[block].empty();
}

std::vector<bool> guarded_values(const Plan& plan) {
  std::vector<bool> guarded(plan.values.size()), free(plan.values.size());
  mark_guarded(plan.steps, false, guarded, free);
  for (const auto* list : {&plan.inputs, &plan.outputs})
    for (const PlanTensorInfo& io : *list) free[static_cast<size_t>(io.value)] = true;
  for (size_t v = 0; v < guarded.size(); ++v)
    if (free[v]) guarded[v] = false;
  return guarded;
}

Span span_of(const Dims& dims, const Dims& strides) {
  Span out{0, 0};
  if (element_count(dims) == 0) return {0, -1};
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t reach = checked_mul(dims[i] - 1, strides[i]);
    (reach < 0 ? out.first : out.last) = checked_add(reach < 0 ? out.first : out.last, reach);
  }
  return out;
}

void add_data_bounds(const Plan& plan, Bindings& symbols) {
  for (const PlanSymbol& s : plan.symbols)
    if (s.kind == PlanSymbol::Kind::data) symbols[s.name] = s.bound.eval(symbols);
}

Bindings symbols_at(const Plan& plan, int64_t PlanSymbol::*pick) {
  Bindings out;
  for (const PlanSymbol& s : plan.symbols)
    if (s.kind != PlanSymbol::Kind::data) out[s.name] = s.*pick;
  add_data_bounds(plan, out);
  return out;
}

int count_steps(const Block& block) {
  int count = 0;
  for (const Step& s : block) {
    ++count;
    for (const Block& inner : s.blocks) count += count_steps(inner);
  }
  return count;
}

void validate(const Plan& plan) { Checker(plan).run(); }

}  // namespace vitrail
