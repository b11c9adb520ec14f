// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "ops/op.h"

// Shared by the shape rules of ops that move elements, slide windows or multiply matrices.
namespace vitrail {

using InferRule = void (*)(InferContext&);
using Reference = void (*)(RunContext&);

/// `e >= least` for every value of the symbols.
bool at_least(const InferContext& ctx, const Expr& e, int64_t least);
/// Throws Error(bad_input) when `e` is known to be negative.
void require_extent(const InferContext& ctx, const Expr& e, const char* what);
/// The common value of two extents that must be equal: the constant one, or `a`. Throws
/// Error(bad_input) when they are known to differ; assumes what is not proved.
Expr unify(InferContext& ctx, const Expr& a, const Expr& b, const char* what);
/// max(e, 0), without the max where it is not needed.
Expr clamp_to_zero(const InferContext& ctx, const Expr& e);
/// A symbol for an extent that depends on data, at most `bound`.
Expr data_extent(const InferContext& ctx, const char* hint, const Expr& bound);

/// Throws Error(bad_input) unless the types of inputs i and 0 are equal.
void require_type_of_first(const InferContext& ctx, size_t i);
/// Throws Error(bad_input) unless input i is an integer of 32 or 64 bits.
void require_index_type(const InferContext& ctx, size_t i, const char* what);
/// Number of elements of input i, a list of integers (rank 1, length known; a scalar counts as a
/// list of one). Throws Error(bad_input) otherwise.
int64_t list_length(const InferContext& ctx, size_t i, const char* what);
/// The elements of such a list, when they are known.
std::optional<std::vector<Expr>> list_of(const InferContext& ctx, size_t i, const char* what);
/// The same for lists that must be constants; throws Error(unsupported) otherwise.
std::vector<int64_t> constant_list_of(const InferContext& ctx, size_t i, const char* what);

/// Axes counted from the end made positive; throws Error(bad_input) for one out of range or given
/// twice.
std::vector<int64_t> normalize_axes(const std::vector<int64_t>& axes, size_t rank,
                                    const char* what);
/// The axes that Squeeze without axes removes: extents that are the constant 1.
std::vector<int64_t> squeezed_axes(const Shape& shape);

/// The rule's outputs for the tensors at hand: references take their extents from here, so that
/// what a rule checks is checked again once the values are known. Throws what the rule throws.
std::vector<ValueInfo> apply_rule(const RunContext& ctx,
                                  const std::function<void(InferContext&)>& rule);
/// Extents of output i by the rule.
Dims dims_by_rule(const RunContext& ctx, InferRule rule, size_t i = 0);

/// Contents of the outputs of an op that only moves elements: its reference moves the numbers of
/// the elements of the first `carriers` inputs. Does nothing where contents or the remaining
/// inputs are unknown. Call it after the shapes are set.
void carry_content(InferContext& ctx, Reference reference, size_t carriers = 1);

}  // namespace vitrail
