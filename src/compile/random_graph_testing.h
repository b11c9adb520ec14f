// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <random>
#include <set>

#include "base/error.h"
#include "ir/graph.h"
#include "vitrail/builder.h"

// Random models for the differential test of the compiler.
namespace vitrail::random_graph {

/// A model that `steps` random operations made; the same seed with fewer steps gives a beginning of
/// it. Every value that nothing reads is an output. Numbers stay of moderate size.
struct RandomGraph {
  ir::Graph graph;
  std::map<std::string, ShapeRange> shapes;  ///< ranges of the inputs, where symbolic
  std::map<std::string, std::pair<int64_t, int64_t>> symbols;
};
RandomGraph make(uint64_t seed, int steps);

/// Makes graphs step by step. Ops whose result can jump when the input changes a little are given
/// only values that are `exact`: inputs, and what only moves their elements.
class Maker {
 public:
  static constexpr int64_t kMostElements =
      40000;  // of one value: thousands of graphs run in minutes

  explicit Maker(uint64_t seed) : random_(seed) {}
  RandomGraph run(int steps);

 private:
  using Ints = std::vector<int64_t>;
  struct Item {
    ir::ValueId id;
    bool exact = false;
  };

  // --- chance
  int64_t pick(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return pick(1, 100) <= percent; }
  template <typename T>
  T one_of(std::initializer_list<T> list) {
    return list.begin()[pick(0, static_cast<int64_t>(list.size()) - 1)];
  }

  // --- the graph so far
  void add_inputs();
  Item any();
  /// A value of this rank, or none.
  std::optional<Item> of_rank(size_t rank);
  const Shape& shape(ir::ValueId v) const { return g_->value(v).shape; }
  size_t rank(ir::ValueId v) const { return shape(v).size(); }
  int64_t least(const Expr& e) const { return e.eval(min_); }
  int64_t most(const Expr& e) const { return e.eval(max_); }
  int64_t most_elements(ir::ValueId v) const { return element_count(shape(v)).eval(max_); }
  ir::ValueId constant(const Dims& dims, double low = -1, double high = 1);
  ir::ValueId ints(const Ints& values) {
    return g_->add_constant("n",
                            Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
  }
  ir::ValueId scalar(float value) { return g_->add_constant("s", Tensor::scalar(value)); }
  void keep(ir::ValueId v, bool exact = false);

  // --- operations; false: nothing fits
  void step();
  bool unary();
  bool binary();
  bool with_constant();
  bool activation();
  bool transpose();
  bool reshape();
  bool reshape_by_shape();
  bool squeeze();
  bool concat();
  bool slice();
  bool split();
  bool expand();
  bool gather();
  bool pad();
  bool conv();
  bool conv_transpose();
  bool pool();
  bool resize();
  bool matmul();
  bool product_of_values();
  bool attention();
  bool softmax();
  bool layer_norm();
  bool other_norm();
  bool reduce();
  bool select();
  bool quantize();
  bool data_extent();
  bool branch();
  bool loop();

  std::mt19937_64 random_;
  ir::Graph* g_ = nullptr;  ///< the graph, or the body, that is being written
  RandomGraph made_;
  std::vector<Item> pool_;
  Bindings min_, max_;
  int depth_ = 0;
};

}  // namespace vitrail::random_graph
