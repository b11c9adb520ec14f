// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "plan/tables.h"
#include "plan_generated.h"

namespace vitrail {
namespace {
template <typename Enum>
Enum to_enum(uint8_t value, int count, const char* what) {
  require(value < count, Code::bad_input, "unknown {} {}", what, value);
  return static_cast<Enum>(value);
}

template <typename Table>
const Table& root(Bytes tables, const char* what) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(tables.data());
  flatbuffers::Verifier verifier(bytes, tables.size(), 64, 4'000'000);
  require(tables.size() >= 8 && verifier.VerifyBuffer<Table>(nullptr), Code::bad_input,
          "the {} tables are damaged", what);
  return *flatbuffers::GetRoot<Table>(bytes);
}

// Reads with a budget: a hostile buffer may let many tables share one long vector, which would grow
// without bound when copied out. A buffer of ours has at most one element a byte.
class Reader {
 public:
  explicit Reader(size_t budget) : budget_(budget) {}
  template <typename T, typename Visit>
  void each(const flatbuffers::Vector<T>* list, Visit visit) {
    if (!list) return;
    charge(list->size());
    // The verifier of flatbuffers 2 looks at the alignment of tables, but not of structs in
    // vectors.
    using Element = std::remove_pointer_t<T>;
    require(reinterpret_cast<uintptr_t>(list->Data()) % alignof(Element) == 0 || list->size() == 0,
            Code::bad_input, "the tables hold a vector that is not aligned");
    for (flatbuffers::uoffset_t i = 0; i < list->size(); ++i) visit(list->Get(i));
  }
  template <typename Out, typename T>
  std::vector<Out> list(const flatbuffers::Vector<T>* from) {
    std::vector<Out> out;
    each(from, [&](auto x) { out.push_back(static_cast<Out>(x)); });
    return out;
  }
  std::string text(const flatbuffers::String* s) {
    if (!s) return {};
    charge(s->size());
    return s->str();
  }

 private:
  void charge(size_t count) {
    require(count <= budget_, Code::bad_input,
            "the tables share vectors in a way that no plan does");
    budget_ -= count;
  }
  size_t budget_;
};

class Decoder {
 public:
  Decoder(Bytes tables, const FindBlob& find, const std::shared_ptr<const void>& owner)
      : t_(root<fb::Target>(tables, "plan's")), read_(tables.size()), find_(find), owner_(owner) {}

  Plan run() {
    read_.each(t_.strings(),
               [&](const flatbuffers::String* s) { texts_.push_back(read_.text(s)); });
    read_.each(t_.exprs(),
               [&](const flatbuffers::String* s) { exprs_.push_back(Expr::parse(read_.text(s))); });
    Plan plan;
    plan.model_name = text(t_.model_name());
    plan.model_hash = text(t_.model_hash());
    plan.target = text(t_.target());
    plan.tuned_for = text(t_.tuned_for());
    plan.tuned_isa = t_.tuned_isa(), plan.tuned_threads = t_.tuned_threads();
    read_.each(t_.symbols(), [&](const fb::Symbol* s) {
      plan.symbols.push_back({text(s->name()),
                              to_enum<PlanSymbol::Kind>(s->kind(), 3, "kind of symbol"),
                              s->min(),
                              s->opt(),
                              s->max(),
                              expr(s->bound()),
                              {}});
      const auto* numbers = s->profiles();
      require(!numbers || numbers->size() % 3 == 0, Code::bad_input,
              "{} numbers for ranges of three", numbers ? numbers->size() : 0);
      for (uint32_t i = 0; numbers && i < numbers->size(); i += 3)
        plan.symbols.back().profiles.push_back(
            {numbers->Get(i), numbers->Get(i + 1), numbers->Get(i + 2)});
    });
    plan.guards = guards(t_.guards());
    read_.each(t_.buffers(), [&](const fb::Buffer* b) {
      plan.buffers.push_back({to_enum<PlanBuffer::Kind>(b->kind(), 4, "kind of buffer"),
                              expr(b->bytes()), b->first(), b->last(), b->constant(), b->io()});
    });
    read_.each(t_.values(), [&](const fb::Value* v) {
      plan.values.push_back({text(v->name()), dtype(v->dtype()), shape(v->dims()), v->buffer(),
                             expr(v->offset()), shape(v->strides())});
    });
    read_.each(t_.inputs(), [&](const fb::Io* io) {
      plan.inputs.push_back({text(io->name()), io->value()});
    });
    read_.each(t_.outputs(), [&](const fb::Io* io) {
      plan.outputs.push_back({text(io->name()), io->value()});
    });
    read_.each(t_.constants(), [&](const fb::Tensor* c) { plan.constants.push_back(tensor(c)); });
    plan.steps = block(t_.steps());
    read_.each(t_.metadata(),
               [&](const fb::Text* m) { plan.metadata[text(m->key())] = text(m->value()); });
    if (t_.source_graph() >= 0)
      plan.source_graph = as_text(find_(static_cast<uint32_t>(t_.source_graph()), true));
    read_.each(t_.source_constants(),
               [&](const fb::Tensor* c) { plan.source_constants.push_back(tensor(c, true)); });
    read_.each(t_.modules(), [&](const fb::Tensor* m) { plan.modules.push_back(tensor(m)); });
    return plan;
  }

 private:
  const std::string& text(uint32_t i) const {
    require(i < texts_.size(), Code::bad_input, "text {} of {}", i, texts_.size());
    return texts_[i];
  }
  const Expr& expr(uint32_t i) const {
    require(i < exprs_.size(), Code::bad_input, "expression {} of {}", i, exprs_.size());
    return exprs_[i];
  }
  static DType dtype(uint8_t value) { return to_enum<DType>(value, kDTypeCount, "element type"); }
  Shape shape(const flatbuffers::Vector<uint32_t>* list) {
    Shape out;
    read_.each(list, [&](uint32_t i) { out.push_back(expr(i)); });
    return out;
  }
  std::vector<std::string> texts(const flatbuffers::Vector<uint32_t>* list) {
    std::vector<std::string> out;
    read_.each(list, [&](uint32_t i) { out.push_back(text(i)); });
    return out;
  }
  Tensor tensor(const fb::Tensor* from, bool source = false) {
    require(from != nullptr, Code::bad_input, "a tensor is missing");
    const DType type = dtype(from->dtype());
    const Dims dims = read_.list<int64_t>(from->dims());
    const Bytes bytes = find_(from->blob(), source);
    const int64_t expected = checked_mul(element_count(dims), static_cast<int64_t>(size_of(type)));
    require(size_of(type) > 0 && static_cast<uint64_t>(expected) == bytes.size(), Code::bad_input,
            "a constant {}{} has {} bytes, expected {}", name_of(type), to_string(dims),
            bytes.size(), expected);
    return Tensor(type, dims, bytes.data(), owner_);
  }
  std::vector<Operand> operands(const flatbuffers::Vector<flatbuffers::Offset<fb::Operand>>* list) {
    std::vector<Operand> out;
    read_.each(list, [&](const fb::Operand* o) {
      out.push_back({dtype(o->dtype()), shape(o->dims()), shape(o->strides()), o->constant()});
    });
    return out;
  }
  Problem problem(const fb::Problem* p) {
    require(p != nullptr, Code::bad_input, "a launch has no problem");
    Problem out;
    out.family = text(p->family());
    out.inputs = operands(p->inputs());
    out.outputs = operands(p->outputs());
    read_.each(p->ints(), [&](const fb::NamedInt* x) { out.ints[text(x->name())] = x->value(); });
    read_.each(p->floats(),
               [&](const fb::NamedNumber* x) { out.floats[text(x->name())] = x->value(); });
    out.epilogue.inputs = p->program_inputs();
    read_.each(p->program(), [&](const fb::Instr* i) {
      out.epilogue.code.push_back(
          {to_enum<Pointwise>(i->op(), kPointwiseCount, "pointwise instruction"), i->a(), i->b(),
           i->imm()});
    });
    out.epilogue.results = read_.list<int16_t>(p->results());
    out.epilogue_inputs = p->epilogue_inputs();
    out.fixed_order = p->fixed_order();
    return out;
  }
  std::optional<LibraryCall> call(const fb::Call* c) {
    if (!c) return {};
    LibraryCall out{text(c->library()), c->version(), text(c->operation()), {}};
    read_.each(c->numbers(), [&](const fb::Text* n) {
      require(out.numbers.emplace(text(n->key()), expr(n->value())).second, Code::bad_input,
              "a call of '{}' has the number '{}' twice", printable(out.library),
              printable(text(n->key())));
    });
    return out;
  }
  KernelChoice choice(const fb::Choice* c) {
    KernelChoice out;
    read_.each(c->when(), [&](const fb::Interval* w) {
      out.when[text(w->symbol())] = {w->low(), w->high()};
    });
    out.kernel = text(c->kernel());
    read_.each(c->tactic(),
               [&](const fb::NamedInt* x) { out.tactic[text(x->name())] = x->value(); });
    out.module = c->code();
    read_.each(c->launches(), [&](const fb::Launch* l) {
      const Shape grid = shape(l->grid());
      require(grid.size() == 3, Code::bad_input, "a launch has a grid of {} extents", grid.size());
      out.launches.push_back({text(l->entry()),
                              {grid[0], grid[1], grid[2]},
                              l->threads(),
                              l->shared_bytes(),
                              shape(l->numbers()),
                              l->cluster(),
                              call(l->call())});
    });
    if (c->workspace_bytes() >= 0)
      out.workspace_bytes = expr(static_cast<uint32_t>(c->workspace_bytes()));
    if (c->counters() >= 0) out.counters = expr(static_cast<uint32_t>(c->counters()));
    out.full_edge = c->full_edge();
    out.division = to_enum<Division>(c->division(), kDivisionCount, "division of memory");
    return out;
  }
  AttrValue attr(const fb::Attr* a) {
    switch (to_enum<AttrKind>(a->kind(), 7, "kind of attribute")) {
      case AttrKind::integer:
        return a->integer();
      case AttrKind::number:
        return a->number();
      case AttrKind::text:
        return text(a->text());
      case AttrKind::integers:
        return read_.list<int64_t>(a->integers());
      case AttrKind::numbers:
        return read_.list<double>(a->numbers());
      case AttrKind::texts:
        return texts(a->texts());
      case AttrKind::tensor:
        return tensor(a->tensor());
    }
    return {};
  }
  std::vector<std::vector<int>> lists(
      const flatbuffers::Vector<flatbuffers::Offset<fb::Ints>>* from) {
    std::vector<std::vector<int>> out;
    read_.each(from, [&](const fb::Ints* l) { out.push_back(read_.list<int>(l->list())); });
    return out;
  }
  std::vector<PlanGuard> guards(const flatbuffers::Vector<const fb::Guard*>* from) {
    std::vector<PlanGuard> out;
    read_.each(from, [&](const fb::Guard* g) { out.push_back({expr(g->a()), expr(g->b())}); });
    return out;
  }
  Block block(const flatbuffers::Vector<flatbuffers::Offset<fb::Step>>* steps) {
    Block out;
    read_.each(steps, [&](const fb::Step* s) {
      Step& step = out.emplace_back();
      step.kind = to_enum<Step::Kind>(s->kind(), 4, "kind of step");
      step.name = text(s->name());
      step.sources = texts(s->sources());
      step.inputs = read_.list<int>(s->inputs());
      step.outputs = read_.list<int>(s->outputs());
      if (step.kind == Step::Kind::launch) step.problem = problem(s->problem());
      read_.each(s->choices(), [&](const fb::Choice* c) { step.choices.push_back(choice(c)); });
      step.together = s->together();
      read_.each(s->joints(), [&](const fb::Joint* j) {
        require(j->code() != nullptr, Code::bad_input, "a joint launch has no code");
        step.joints.push_back({read_.list<int>(j->choices()), choice(j->code())});
      });
      step.domain = text(s->domain());
      step.op = text(s->op());
      read_.each(s->attrs(), [&](const fb::Attr* a) { step.attrs.set(text(a->name()), attr(a)); });
      read_.each(s->data_extents(), [&](const fb::Extent* d) {
        step.data_extents.push_back({d->output(), d->axis(), text(d->symbol())});
      });
      bool guarded = false;
      read_.each(s->blocks(), [&](const fb::Block* b) {
        step.blocks.push_back(block(b->steps()));
        step.block_guards.push_back(guards(b->guards()));
        guarded |= !step.block_guards.back().empty();
      });
      if (!guarded) step.block_guards.clear();
      step.block_inputs = lists(s->block_inputs());
      step.block_outputs = lists(s->block_outputs());
    });
    return out;
  }

  const fb::Target& t_;
  Reader read_;
  const FindBlob& find_;
  const std::shared_ptr<const void>& owner_;
  std::vector<std::string> texts_;
  std::vector<Expr> exprs_;
};
}  // namespace

Plan decode_target(Bytes tables, const FindBlob& find, const std::shared_ptr<const void>& owner) {
  return Decoder(tables, find, owner).run();
}

std::string decode_record(Bytes tables, std::span<Plan> targets) {
  const fb::Record& record = root<fb::Record>(tables, "record's");
  Reader read(tables.size());
  size_t index = 0;
  read.each(record.targets(), [&](const fb::TargetRecord* t) {
    require(index < targets.size(), Code::bad_input, "the record has more targets than the plan");
    Plan& plan = targets[index++];
    const std::vector<double> times = read.list<double>(t->microseconds());
    size_t at = 0;
    for_each_choice(plan.steps, [&](KernelChoice& c) {
      if (at < times.size()) c.microseconds = times[at];
      ++at;
    });
    require(at == times.size(), Code::bad_input, "the record has {} timings for {} choices",
            times.size(), at);
    std::vector<Step*> steps;
    for_each_step(plan.steps, [&](Step& s) { steps.push_back(&s); });
    at = 0;
    read.each(t->trials(), [&](const fb::Lines* lines) {
      require(at < steps.size(), Code::bad_input, "the record has trials of more than {} steps",
              steps.size());
      read.each(lines->list(), [&](const flatbuffers::String* line) {
        steps[at]->trials.push_back(read.text(line));
      });
      ++at;
    });
    read.each(t->account(),
              [&](const flatbuffers::String* line) { plan.account.push_back(read.text(line)); });
    read.each(t->verification(), [&](const fb::VerificationRow* r) {
      plan.verification.push_back({read.text(r->output()), read.text(r->at()), r->abs_max(),
                                   r->abs_mean(), r->abs_median(), r->rel_max(), r->rel_mean(),
                                   r->rel_median(), r->cosine(), r->sqnr_db(), r->ok()});
    });
  });
  require(index == targets.size(), Code::bad_input, "the record has {} of {} targets", index,
          targets.size());
  return read.text(record.written());
}

}  // namespace vitrail
