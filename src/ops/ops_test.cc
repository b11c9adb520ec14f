// SPDX-License-Identifier: Apache-2.0
// The conformance test of every op in the list: its shape rule, with known and with symbolic
// extents, against what its reference makes of each sample, and float32 against float64.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "ops/sample.h"

namespace vitrail {
namespace {

class Ops : public testing::TestWithParam<const OpDef*> {};

std::string describe(const Sample& sample) {
  std::string out;
  for (const SampleInput& in : sample.inputs)
    out += in.absent ? "absent "
                     : std::string(name_of(in.fixed.defined() ? in.fixed.dtype() : in.dtype)) +
                           to_string(in.fixed.defined() ? in.fixed.dims() : in.dims) + " ";
  for (const auto& [name, value] : sample.attrs.all()) out += name + " ";
  return out;
}

TEST_P(Ops, DefinitionIsComplete) {
  const OpDef& op = *GetParam();
  EXPECT_FALSE(op.samples().empty());
  EXPECT_GT(op.version, 0);
  EXPECT_LE(op.min_inputs, op.max_inputs);
  EXPECT_LE(op.min_outputs, op.max_outputs);
  EXPECT_EQ(find_op(op.domain, op.name), &op);
  std::set<std::string> used;
  for (const Sample& sample : op.samples()) {
    EXPECT_GE(static_cast<int>(sample.inputs.size()), op.min_inputs);
    EXPECT_LE(static_cast<int>(sample.inputs.size()), op.max_inputs);
    for (const auto& [name, value] : sample.attrs.all()) {
      used.insert(name);
      const auto spec =
          std::find_if(op.attrs.begin(), op.attrs.end(),
                       [&, &wanted = name](const AttrSpec& s) { return s.name == wanted; });
      ASSERT_NE(spec, op.attrs.end()) << "attribute " << name << " is not in the schema";
      EXPECT_EQ(static_cast<size_t>(spec->kind), value.index()) << name;
    }
  }
  for (const AttrSpec& spec : op.attrs)
    EXPECT_TRUE(used.contains(spec.name)) << "no sample sets attribute " << spec.name;
}

TEST_P(Ops, InferredIsWhatRuns) {
  const OpDef& op = *GetParam();
  for (const Sample& sample : op.samples()) {
    SCOPED_TRACE(describe(sample));
    const auto inputs = draw_inputs(sample);
    const auto inferred = infer_constants(op, sample.attrs, inputs, sample.outputs);
    const auto results = run_reference(op, sample.attrs, inputs, sample.outputs);
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(inferred[i].dtype, results[i].dtype()) << "output " << i;
      ASSERT_EQ(inferred[i].rank(), results[i].rank()) << "output " << i;
      if (!op.traits.data_shape) {
        EXPECT_EQ(to_string(inferred[i].shape), to_string(results[i].dims())) << "output " << i;
      }
      if (!inferred[i].content) continue;
      ASSERT_EQ(static_cast<int64_t>(inferred[i].content->size()), results[i].size());
      for (int64_t e = 0; e < results[i].size(); ++e)
        EXPECT_EQ((*inferred[i].content)[static_cast<size_t>(e)].constant(),
                  results[i].number_at(e));
    }
  }
}

// Every extent v above 1 becomes a symbol "dv"; the rule's expressions must then evaluate to what
// runs. Extents that the rule wants to know (constants, attributes) keep their numbers.
TEST_P(Ops, SymbolicShapesEvaluate) {
  const OpDef& op = *GetParam();
  for (const Sample& sample : op.samples()) {
    SCOPED_TRACE(describe(sample));
    const auto inputs = draw_inputs(sample);
    std::vector<ValueInfo> infos(inputs.size());
    InferContext ctx{
        sample.attrs, {}, std::vector<ValueInfo>(static_cast<size_t>(sample.outputs)), op.name, {},
        {},           {}};
    Bindings bindings;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i].defined()) {
        ctx.inputs.push_back(nullptr);
        continue;
      }
      infos[i].dtype = inputs[i].dtype();
      const bool known = sample.inputs[i].fixed.defined() || !is_float(inputs[i].dtype());
      if (known) infos[i].constant = &inputs[i];
      for (int64_t d : inputs[i].dims()) {
        const std::string symbol = "d" + std::to_string(d);
        infos[i].shape.push_back(known || d < 2 ? Expr(d) : Expr::symbol(symbol));
        bindings[symbol] = d;
      }
      ctx.inputs.push_back(&infos[i]);
    }
    for (ValueInfo& out : ctx.outputs)
      if (ctx.has(0)) out.dtype = ctx.in(0).dtype;
    bool data = false;
    ctx.data_symbol = [&](const std::string& hint, const Expr&) {
      data = true;
      return Expr::symbol("data." + hint);
    };
    try {
      op.infer(ctx);
    } catch (const Error& error) {
      // A rule may ask for a constant extent, but has to say so.
      EXPECT_EQ(error.code, Code::unsupported) << error.what();
      continue;
    }
    if (data) continue;
    const auto results = run_reference(op, sample.attrs, inputs, sample.outputs);
    for (size_t i = 0; i < results.size(); ++i)
      EXPECT_EQ(to_string(eval(ctx.outputs[i].shape, bindings)), to_string(results[i].dims()))
          << to_string(ctx.outputs[i].shape);
    for (const Equality& e : ctx.equalities) EXPECT_EQ(e.a.eval(bindings), e.b.eval(bindings));
  }
}

// Both runs see the same numbers (float32 widens exactly), so they differ by the float32 run's own
// roundings only. References sum in float64 and evaluate functions there; what is left is the
// rounding of a few steps, for which 16 units in the last place of the largest result are ample.
TEST_P(Ops, Float32AgreesWithFloat64) {
  const OpDef& op = *GetParam();
  constexpr double kTolerance = 16 * 0x1p-24;
  for (const Sample& sample : op.samples()) {
    SCOPED_TRACE(describe(sample));
    auto inputs = draw_inputs(sample);
    const bool floats = std::any_of(inputs.begin(), inputs.end(), [](const Tensor& t) {
      return t.defined() && t.dtype() == DType::f32;
    });
    if (!floats) continue;
    const auto narrow = run_reference(op, sample.attrs, inputs, sample.outputs);
    for (Tensor& t : inputs)
      if (t.defined() && t.dtype() == DType::f32) t = t.cast(DType::f64);
    const auto wide = run_reference(op, sample.attrs, inputs, sample.outputs);
    for (size_t i = 0; i < narrow.size(); ++i) {
      ASSERT_EQ(narrow[i].dims(), wide[i].dims());
      double largest = 0;
      for (int64_t e = 0; e < wide[i].size(); ++e)
        if (std::isfinite(wide[i].number_at(e)))
          largest = std::max(largest, std::fabs(wide[i].number_at(e)));
      for (int64_t e = 0; e < wide[i].size(); ++e) {
        const double a = narrow[i].number_at(e), b = wide[i].number_at(e);
        if (std::isfinite(b)) {
          EXPECT_LE(std::fabs(a - b), kTolerance * largest) << "output " << i << " element " << e;
        } else {
          EXPECT_TRUE(std::isnan(b) ? std::isnan(a) : a == b) << a << " " << b;
        }
      }
    }
  }
}

std::string test_name(const testing::TestParamInfo<const OpDef*>& instance) {
  std::string name = std::string(instance.param->domain) + instance.param->name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
      '_');
  return name;
}
std::vector<const OpDef*> ops_with_reference() {
  std::vector<const OpDef*> out;
  for (const OpDef* op : all_ops())
    if (!op->traits.control) out.push_back(op);
  return out;
}
INSTANTIATE_TEST_SUITE_P(All, Ops, testing::ValuesIn(ops_with_reference()), test_name);

}  // namespace
}  // namespace vitrail
