// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <bit>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "import/bytes.h"

namespace vitrail {

/// A value that a pickle describes. Values live in the PickleDocument and refer to each other by
/// index, so that neither depth nor cycles in a hostile file cost stack.
struct PickleValue {
  enum class Kind : uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    tuple,       ///< items
    list,        ///< items
    dict,        ///< items: key, value, key, value
    global,      ///< text: "module name"
    call,        ///< items: global, argument tuple
    persistent,  ///< items: the id
  };
  Kind kind = Kind::none;
  int64_t integer = 0;    ///< also the truth of a boolean; the bits of a real
  std::string_view text;  ///< points into the pickle
  std::vector<uint32_t> items;

  bool is(Kind wanted) const { return kind == wanted; }
  double real() const { return std::bit_cast<double>(integer); }
};

/// Pickle protocols 2 to 5, read as data. A `call` is only recorded, for the caller to interpret;
/// `allowed(global)` says which globals may appear, any other throws Error(bad_input) with its
/// name. So do damaged streams; opcodes that state dicts never need throw Error(unsupported).
class PickleDocument {
 public:
  using Allowed = bool (*)(std::string_view global);
  /// `data` must outlive the document.
  PickleDocument(Bytes data, std::string name, Allowed allowed);
  PickleDocument(PickleDocument&&) =
      default;  // values point into texts_, which a copy would not be

  const PickleValue& root() const { return values_[root_]; }
  const PickleValue& at(uint32_t index) const { return values_[index]; }
  uint32_t size() const { return static_cast<uint32_t>(values_.size()); }
  /// Bytes of `data` up to the pickle's end.
  size_t consumed() const { return consumed_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;
  std::deque<std::string> texts_;  // names put together from two pieces
  uint32_t root_ = 0;
  size_t consumed_ = 0;
};

}  // namespace vitrail
