// SPDX-License-Identifier: Apache-2.0
#include "passes/pass_testing.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ir/text.h"
#include "oracle/oracle.h"

namespace vitrail::passes {
namespace {

// Every symbol 1, then odd and unequal values.
std::vector<Bindings> default_bindings(const ir::Graph& graph) {
  std::vector<Bindings> out;
  for (int64_t round = 0; round < 3; ++round) {
    Bindings b;
    int64_t k = 0;
    for (const auto& [name, symbol] : graph.symbols)
      if (symbol.kind == ir::SymbolKind::input)
        b[name] =
            std::min(std::max<int64_t>(symbol.range.low, 1 + 2 * round * (++k)), symbol.range.high);
    out.push_back(b);
    if (b.empty()) break;
  }
  return out;
}

std::string shown(const Bindings& bindings) {
  std::string out;
  for (const auto& [name, value] : bindings) out += fmt::format(" {}={}", name, value);
  return out;
}

size_t most_forms(const ir::Graph& graph) {
  size_t out = 1;
  for (ir::NodeId id : graph.topological_order())
    if (graph.node(id).is_fusion()) out = std::max(out, graph.node(id).bodies.size());
  return out;
}

void expect_equal_results(const ir::Graph& before, const ir::Graph& after, const Check& check,
                          size_t form) {
  for (const Bindings& at : check.at.empty() ? default_bindings(before) : check.at) {
    std::vector<Tensor> inputs;
    for (ir::ValueId in : before.inputs) {
      const ir::Value& value = before.value(in);
      Dims dims;
      for (const Expr& d : value.shape) dims.push_back(d.eval(at));
      inputs.push_back(ir::drawn(value.dtype, dims, -2, 2, ir::seed_of(value.name)));
    }
    const auto a = oracle::run(before, inputs, {.precision = DType::f64}),
               b = oracle::run(after, inputs,
                               {.precision = DType::f64, .observe = {}, .body = form});
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(a[i].dims(), b[i].dims()) << "output " << i << " at" << shown(at);
      double largest = 1e-300, worst = 0;
      for (int64_t k = 0; k < a[i].size(); ++k) {
        const double x = a[i].number_at(k), y = b[i].number_at(k);
        ASSERT_EQ(std::isfinite(x), std::isfinite(y))
            << "output " << i << " element " << k << " at" << shown(at);
        if (!std::isfinite(x)) continue;
        largest = std::max(largest, std::fabs(x));
        worst = std::max(worst, std::fabs(x - y));
      }
      EXPECT_LE(worst, check.tolerance * largest) << "output " << i << " at" << shown(at);
    }
  }
}

}  // namespace

ir::Graph rewritten(const std::string& pass, const ir::Graph& before, const Check& check) {
  const Pass* found = find_pass(pass);
  require(found != nullptr, Code::internal, "no pass '{}'", pass);
  ir::Graph after = before.clone();
  EXPECT_GT(found->run(after), 0u) << pass << " found nothing in\n" << outline_of(before);
  ir::verify(after, pass);
  after.compact();
  ir::verify(after, pass + " and compact");
  const std::string printed = ir::print(after, SIZE_MAX);
  EXPECT_EQ(ir::print(ir::parse(printed), SIZE_MAX), printed);
  for (size_t form = 0; form < most_forms(after); ++form)
    expect_equal_results(before, after, check, form);
  ir::Graph again = after.clone();
  EXPECT_EQ(found->run(again), 0u) << pass << " run twice makes\n" << outline_of(again);
  return after;
}

void expect_rewrite(const std::string& pass, const std::string& before, const std::string& after,
                    const Check& check) {
  try {
    EXPECT_EQ(outline_of(rewritten(pass, graph_of(before), check)), outline_of(graph_of(after)));
  } catch (const Error& e) {
    ADD_FAILURE() << pass << ": " << e.what() << "\n" << before;
  }
}

void expect_kept(const std::string& pass, const std::string& text) {
  try {
    const ir::Graph before = graph_of(text);
    ir::Graph after = before.clone();
    EXPECT_EQ(find_pass(pass)->run(after), 0u) << pass << " made\n"
                                               << outline_of(after) << "of\n"
                                               << outline_of(before);
    ir::verify(after, pass);
    after.compact();
    EXPECT_EQ(outline_of(after), outline_of(before));
  } catch (const Error& e) {
    ADD_FAILURE() << pass << ": " << e.what() << "\n" << text;
  }
}

}  // namespace vitrail::passes
