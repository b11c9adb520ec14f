// SPDX-License-Identifier: Apache-2.0
// Random graphs, compiled and run, against the references on the graph as it was made. A failure
// prints the seed; VITRAIL_FUZZ=seed[,steps] runs that one alone and prints its graph,
// VITRAIL_FUZZ=A..B a range of seeds.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "compile/compile.h"
#include "compile/random_graph_testing.h"
#include "compile/search.h"
#include "ir/text.h"
#include "oracle/oracle.h"
#include "passes/pipeline.h"
#include "runtime/executor.h"
#include "vitrail/random.h"

namespace vitrail {
namespace {

int steps_of(uint64_t seed) { return 4 + static_cast<int>(seed % 14); }

// Rounding of float32 through a chain of operations: some hundred units of the largest element (as
// in the build's own verification), and where the graph amplifies rounding (a norm of nearly equal
// numbers), as many times what float32 costs the references themselves.
double allowed(const Tensor& narrow, const Tensor& wide) {
  double largest = 1, cost = 0;
  for (int64_t i = 0; i < wide.size(); ++i) {
    largest = std::max(largest, std::fabs(wide.number_at(i)));
    cost = std::max(cost, std::fabs(wide.number_at(i) - narrow.number_at(i)));
  }
  return 512 * std::ldexp(largest, -24) + 16 * cost;
}

std::string compare(const Tensor& got, const Tensor& narrow, const Tensor& wide) {
  if (got.dims() != wide.dims())
    return fmt::format("shape {} instead of {}", to_string(got.dims()), to_string(wide.dims()));
  const double tolerance = allowed(narrow, wide);
  for (int64_t i = 0; i < wide.size(); ++i) {
    const double a = got.number_at(i), b = wide.number_at(i);
    if (!(std::fabs(a - b) <= tolerance))
      return fmt::format("element {} of {} is {}, expected {} within {:.2g}", i,
                         to_string(got.dims()), a, b, tolerance);
  }
  return {};
}

std::vector<Tensor> inputs_at(const ir::Graph& graph, const Bindings& at, uint64_t seed) {
  std::vector<Tensor> out;
  for (ir::ValueId in : graph.inputs)
    out.push_back(
        random_tensor(DType::f32, eval(graph.value(in).shape, at), seed * 31 + out.size(), -1, 1));
  return out;
}

// A plan whose forms and axis orders a coin chose among the legal ones.
Plan by_coin(const ir::Graph& imported, const BuildOptions& options, uint64_t seed) {
  ir::Graph fused = imported.clone();
  const Bindings opt = apply_shapes(fused, options.shapes);
  fused.infer_all();
  passes::run(fused);
  const auto make = [&](ir::Graph graph, const AxisOrders& orders) {
    Built out{.graph = std::move(graph)};
    out.plan = make_plan(out.graph, opt, options, {}, out.lines, nullptr, orders, &out.free);
    return out;
  };
  uint64_t state = seed;
  const auto compare = [&](const Plan&, Plan&) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return Versus{.known = true, .faster = (state >> 63) == 1, .first_us = 1, .second_us = 1};
  };
  Built first = make(fused.clone(), {});
  return search(std::move(fused), std::move(first), {.make = make, .compare = compare}).plan;
}

// What is wrong with the graph of this seed; empty: nothing.
std::string failure(uint64_t seed, int steps) {
  try {
    const random_graph::RandomGraph made = random_graph::make(seed, steps);
    ir::verify(made.graph, "making it");
    BuildOptions options{.shapes = made.shapes, .tune = false, .verify = VerifyLevel::off};
    options.deterministic = seed % 7 == 0;
    BuildReport report;
    Executor executor(
        std::make_shared<const Plan>(seed % 3 == 1 ? by_coin(made.graph, options, seed)
                                                   : build_plan(made.graph, options, report)),
        {.threads = 2, .poison = true});
    Bindings low, high, middle;
    for (const auto& [name, range] : made.symbols) {
      low[name] = range.first;
      high[name] = range.second;
      middle[name] = (range.first + range.second) / 2;
    }
    std::vector<Bindings> points = {middle, low, high,
                                    middle};  // back to the first: memory is reused
    if (made.symbols.empty()) points = {middle, middle};
    for (size_t p = 0; p < points.size(); ++p) {
      const std::vector<Tensor> inputs = inputs_at(made.graph, points[p], seed + p % 3);
      const auto narrow = oracle::run(made.graph, inputs),
                 wide = oracle::run(made.graph, inputs, {.precision = DType::f64});
      for (size_t i = 0; i < inputs.size(); ++i) executor.set_input(i, inputs[i]);
      executor.run();
      for (size_t i = 0; i < wide.size(); ++i)
        if (const std::string why = compare(executor.output(i), narrow[i], wide[i]); !why.empty())
          return fmt::format("output '{}' at point {}: {}",
                             made.graph.value(made.graph.outputs[i]).name, p, why);
    }
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

// The fewest steps that fail: the same seed makes the same beginning.
void expect_agreement(uint64_t seed) {
  int steps = steps_of(seed);
  std::string why = failure(seed, steps);
  if (why.empty()) return;
  for (int fewer = 1; fewer < steps; ++fewer)
    if (const std::string first = failure(seed, fewer); !first.empty()) {
      steps = fewer;
      why = first;
      break;
    }
  ADD_FAILURE() << fmt::format("VITRAIL_FUZZ={},{}: {}", seed, steps, why);
}

TEST(Fuzz, PlansAgreeWithTheReferences) {
  const char* given = std::getenv("VITRAIL_FUZZ");
  uint64_t first = 1, last = 200;
  if (given && std::string(given).find("..") == std::string::npos) {
    char* end = nullptr;
    const uint64_t seed = std::strtoull(given, &end, 10);
    const int steps = *end == ',' ? std::atoi(end + 1) : steps_of(seed);
    std::puts(ir::print(random_graph::make(seed, steps).graph, 8).c_str());
    EXPECT_EQ(failure(seed, steps), "");
    return;
  }
  if (given) {
    char* end = nullptr;
    first = std::strtoull(given, &end, 10);
    last = std::strtoull(end + 2, nullptr, 10);
  }
  for (uint64_t seed = first; seed <= last; ++seed) expect_agreement(seed);
}

}  // namespace
}  // namespace vitrail
