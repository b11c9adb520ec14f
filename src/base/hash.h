// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <compare>
#include <cstdint>
#include <memory>
#include <string>

#include "base/file.h"

namespace vitrail {

/// XXH3, 64 bits (libxxhash's definition, stable over versions and machines). Finds damage; it is
/// no protection against someone who wants a collision.
uint64_t xxh3_64(Bytes bytes);

/// XXH3, 128 bits: the name of a content.
struct Digest {
  uint64_t high = 0, low = 0;
  auto operator<=>(const Digest&) const = default;
  /// 32 hexadecimal digits.
  std::string str() const;
};
Digest xxh3_128(Bytes bytes);

/// The 128-bit digest of data that comes in pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void update(Bytes bytes);
  Digest digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vitrail
