// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "plan/plan.h"

// The plan file, extension .vitrail. Little-endian; offsets count from the start of the file.
//
//   header (128 bytes)   magic, endianness mark, format and engine version, file size, content
//   hash,
//                        hash of the section table, hash of the header itself. Its layout is the
//                        same in every format version, so that a wrong version can be named.
//   section table        kind, offset, size, XXH3-64 of each section
//   target sections      one a target ("cpu", "cuda:sm90"): tables of plan.fbs
//   blob index           XXH3-128, offset and size of every weight
//   record               when it was written, timings, account, verification: what is true of one
//                        build and not of the plan
//   weights              each distinct content once, 64-byte aligned, shared by all targets
//
// The content hash covers targets and blob index, and through the index's digests every weight.
namespace vitrail {

constexpr uint32_t kPlanFormat = 1;

/// Writes `targets` (at least one, distinct `target`s) to `path`, atomically. `written` is free
/// text for the record. Throws Error(internal) when a plan breaks its own rules (see validate),
/// Error(io).
void save_plan(const std::string& path, std::span<const Plan* const> targets,
               const std::string& written = {});
inline void save_plan(const std::string& path, const Plan& plan, const std::string& written = {}) {
  const Plan* const one = &plan;
  save_plan(path, std::span(&one, 1), written);
}

enum class WeightCheck : uint8_t {
  /// Compare weights with their digests while loading. Those that only a new build reads (the
  /// imported model's own) are left out when they are many: they would be paged in for nothing.
  at_load,
  on_request,  ///< only when verify_weights() is called
};

/// A plan file that passed all checks. Immutable; sessions share it. Its weights stay in the mapped
/// file: another process that truncates the file in place would kill this one (SIGBUS); replacing
/// it by rename, as save_plan does, is harmless.
struct PlanFile {
  std::string path;
  Bytes bytes;                        ///< of the whole file
  std::shared_ptr<const void> owner;  ///< keeps them there
  std::vector<std::shared_ptr<const Plan>> targets;
  std::string written;
  Digest content;
  uint64_t weight_bytes = 0;  ///< of the distinct weights that running needs
  uint64_t source_bytes = 0;  ///< of what only building again needs

  /// The section for `target`; throws Error(wrong_target) that lists those present.
  std::shared_ptr<const Plan> target(std::string_view name) const;
  /// Throws Error(bad_input) naming the first weight whose bytes are not what its digest says.
  void verify_weights() const;

  struct Blob {
    Digest digest;
    uint64_t offset = 0, size = 0;
  };
  std::vector<Blob> blobs;
};

/// Reads and checks a plan. Throws Error(io), Error(wrong_target) for a plan of another version or
/// byte order, and Error(bad_input) for anything else that is not a sound plan.
PlanFile load_plan_file(const std::string& path, WeightCheck check = WeightCheck::at_load);
/// The same for a plan in memory, 64-byte aligned, that `owner` keeps there; `path` is for
/// messages.
PlanFile read_plan(Bytes bytes, std::shared_ptr<const void> owner, const std::string& path,
                   WeightCheck check = WeightCheck::at_load);

/// True when the file begins like a plan.
bool looks_like_plan(Bytes head);

}  // namespace vitrail
