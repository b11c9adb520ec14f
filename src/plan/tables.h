// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "plan/plan.h"

// A Plan as the flatbuffers tables of plan.fbs, and back.
namespace vitrail {

/// Gives the index in the weight store of some bytes.
using StoreBlob = std::function<uint32_t(Bytes)>;
/// The bytes of a stored weight; throws Error(bad_input) for an index that does not exist.
/// `source`: wanted for building again, not for running.
using FindBlob = std::function<Bytes(uint32_t index, bool source)>;

std::vector<std::byte> encode_target(const Plan& plan, const StoreBlob& store);
/// `owner` keeps the blobs' memory alive. Throws Error(bad_input) for tables that are not sound;
/// what the tables mean is checked by validate().
Plan decode_target(Bytes tables, const FindBlob& find, const std::shared_ptr<const void>& owner);

std::vector<std::byte> encode_record(std::span<const Plan* const> targets,
                                     const std::string& written);
/// Sets timings, account and verification of `targets`; returns the `written` text.
std::string decode_record(Bytes tables, std::span<Plan> targets);

/// Calls visit(choice) for every kernel choice, depth first.
template <typename Steps, typename Visit>
void for_each_choice(Steps& block, const Visit& visit) {
  for_each_step(block, [&](auto& step) {
    for (auto& choice : step.choices) visit(choice);
  });
}

}  // namespace vitrail
