// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

// The header's own bodies: no library to link, and none for programs that embed ours.
#define XXH_INLINE_ALL
#include <fmt/core.h>
#include <xxhash.h>

namespace vitrail {
namespace {
Digest to_digest(const XXH128_hash_t& hash) { return {hash.high64, hash.low64}; }
}  // namespace

uint64_t xxh3_64(Bytes bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }
Digest xxh3_128(Bytes bytes) { return to_digest(XXH3_128bits(bytes.data(), bytes.size())); }

std::string Digest::str() const { return fmt::format("{:016x}{:016x}", high, low); }

struct Hasher::State {
  XXH3_state_t xxh;
};

Hasher::Hasher() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh); }
Hasher::~Hasher() = default;
void Hasher::update(Bytes bytes) { XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size()); }
Digest Hasher::digest() const { return to_digest(XXH3_128bits_digest(&state_->xxh)); }

}  // namespace vitrail
