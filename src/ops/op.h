// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/pointwise.h"
#include "base/tensor.h"

namespace vitrail {

// ---------------------------------------------------------------- ONNX's numbers of types
/// The type that ONNX numbers so (TensorProto.DataType, attribute `to` of Cast); throws
/// Error(unsupported) for a type that vitrail does not have.
DType dtype_of_onnx_number(int64_t number);
int64_t onnx_number_of(DType dtype);

// ---------------------------------------------------------------- attributes
using AttrValue = std::variant<int64_t, double, std::string, std::vector<int64_t>,
                               std::vector<double>, std::vector<std::string>, Tensor>;
enum class AttrKind : uint8_t {
  integer,
  number,
  text,
  integers,
  numbers,
  texts,
  tensor
};  // same order

/// Attributes of a node, by name. The getters throw Error(bad_input) when the kind is another.
class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<std::pair<const std::string, AttrValue>> list) : map_(list) {}
  bool has(std::string_view name) const { return map_.find(name) != map_.end(); }
  void set(std::string name, AttrValue value) { map_[std::move(name)] = std::move(value); }
  void erase(const std::string& name) { map_.erase(name); }
  int64_t integer(std::string_view name, std::optional<int64_t> fallback = {}) const;
  double number(std::string_view name, std::optional<double> fallback = {}) const;
  std::string text(std::string_view name, std::optional<std::string> fallback = {}) const;
  std::vector<int64_t> integers(std::string_view name,
                                std::optional<std::vector<int64_t>> fallback = {}) const;
  std::vector<double> numbers(std::string_view name,
                              std::optional<std::vector<double>> fallback = {}) const;
  const Tensor& tensor(std::string_view name) const;
  const std::map<std::string, AttrValue, std::less<>>& all() const { return map_; }
  bool operator==(const Attrs& other) const;

 private:
  const AttrValue& at(std::string_view name) const;
  std::map<std::string, AttrValue, std::less<>> map_;
};

/// What a node of this op may carry. `required` attributes have no default.
struct AttrSpec {
  const char* name;
  AttrKind kind;
  bool required = false;
};

// ---------------------------------------------------------------- shape rule
/// What is known of a value while shapes are inferred.
struct ValueInfo {
  DType dtype = DType::f32;
  Shape shape;
  /// The value itself, when it is constant.
  const Tensor* constant = nullptr;
  /// The elements of a small tensor of whole numbers as expressions, row by row: set for what
  /// Shape and arithmetic on it gives, so that a computed Reshape target is known. Booleans are 0
  /// or 1; floats may have a content too, because Resize's sizes are often computed in float.
  std::optional<std::vector<Expr>> content;

  size_t rank() const { return shape.size(); }
  /// The elements as expressions, from `content` or `constant`; nothing when unknown.
  std::optional<std::vector<Expr>> ints() const;
};

/// Input and output of a shape rule. A rule reads inputs and attributes and sets `outputs`
/// (already sized to the node's number of outputs, dtype of the first input preset).
struct InferContext {
  const Attrs& attrs;
  std::vector<const ValueInfo*> inputs;  ///< null: an optional input that is absent
  std::vector<ValueInfo> outputs;
  std::string node;  ///< the node's name, for warnings

  /// Equalities assumed because they could not be proved; they become guards.
  std::vector<Equality> equalities;
  std::vector<std::string> warnings;
  /// A new symbol for an extent known only when the node has run; `bound` is its largest value.
  std::function<Expr(const std::string& hint, const Expr& bound)> data_symbol;
  /// What is known of the symbols (missing: 0 to unbounded).
  Ranges ranges = {};

  bool has(size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
  const ValueInfo& in(size_t i) const;  ///< throws Error(bad_input) when absent
  ValueInfo& out(size_t i = 0) { return outputs.at(i); }
  Shape broadcast(const Shape& a, const Shape& b) { return vitrail::broadcast(a, b, &equalities); }
};

// ---------------------------------------------------------------- reference
/// Input and output of a reference. Floats arrive as f32 or f64 (the oracle's choice; half types
/// are widened before and narrowed after), and leave in the type of the inputs. Inputs are valid
/// per the shape rule; what only data can violate (an index out of range) throws Error(bad_input).
struct RunContext {
  const Attrs& attrs;
  std::vector<const Tensor*> inputs;  ///< null: absent
  std::vector<Tensor> outputs;  ///< sized to the node's number of outputs; the reference fills them
  /// The caller computes f32 values in f64 and rounds nothing: Cast keeps floats as they are.
  bool wide = false;

  bool has(size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
  const Tensor& in(size_t i) const;
  Tensor& out(size_t i = 0) { return outputs.at(i); }
};

// ---------------------------------------------------------------- samples
/// One input of a sample: drawn uniformly from [low, high], or given.
struct SampleInput {
  DType dtype = DType::f32;
  Dims dims;
  double low = -1, high = 1;
  Tensor fixed = {};  ///< used instead when defined
  bool absent = false;
};
/// A small case that exercises the op: odd sizes, every attribute that changes the meaning.
struct Sample {
  std::vector<SampleInput> inputs;
  Attrs attrs;
  int outputs = 1;
};

// ---------------------------------------------------------------- the op
constexpr int kMany = 1 << 20;

struct Traits {
  /// Element i of the output depends on element i of the inputs (after broadcast) only.
  bool elementwise = false;
  /// The instruction it is, when it is one.
  std::optional<Pointwise> pointwise = {};
  /// The output holds the input's elements in the same or another arrangement; with strides it may
  /// be the same memory (Reshape, Transpose, Slice, ...).
  bool view = false;
  /// A small change of the input may change the output by much (TopK, NonMaxSuppression, ArgMax).
  bool discontinuous = false;
  /// Sums many terms: accumulate in float32 or better whatever the storage.
  bool reduction = false;
  /// Output extents depend on data, not only on shapes.
  bool data_shape = false;
  /// If and Loop: what the op means is in its node's bodies; no reference and no samples.
  bool control = false;
};

/// What an op means; the one place where it is defined. The IR holds each op in the newest form
/// this project knows (`version`); the importer lifts older forms.
struct OpDef {
  const char* name;    ///< ONNX's name for ONNX ops
  const char* domain;  ///< "" for ONNX
  /// The oldest ONNX opset whose definition is this one, element types aside; later opsets up to
  /// the newest known mean the same.
  int version;
  std::vector<AttrSpec> attrs;
  int min_inputs, max_inputs;  ///< kMany: any number
  int min_outputs, max_outputs;
  Traits traits;
  void (*infer)(InferContext&);
  void (*reference)(RunContext&);
  std::vector<Sample> (*samples)();
};

/// All ops, in the order of op_list.inc.
std::span<const OpDef* const> all_ops();
/// Null when unknown.
const OpDef* find_op(std::string_view domain, std::string_view name);

}  // namespace vitrail
