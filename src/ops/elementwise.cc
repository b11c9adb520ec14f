// SPDX-License-Identifier: Apache-2.0
#include "ops/elementwise.h"

namespace vitrail {

void infer_same(InferContext& ctx) {
  ctx.out().dtype = ctx.in(0).dtype;
  ctx.out().shape = ctx.in(0).shape;
}

void infer_broadcast(InferContext& ctx, Expr (*combine)(const Expr&, const Expr&)) {
  const ValueInfo &a = ctx.in(0), &b = ctx.in(1);
  require(a.dtype == b.dtype, Code::bad_input, "inputs have types {} and {}", name_of(a.dtype), name_of(b.dtype));
  ctx.out().dtype = a.dtype;
  ctx.out().shape = ctx.broadcast(a.shape, b.shape);
  if (!combine || !is_integer(a.dtype) || a.rank() > 1 || b.rank() > 1) return;
  const auto x = a.ints(), y = b.ints();
  if (!x || !y || x->empty() || y->empty()) return;
  std::vector<Expr> out;
  for (size_t i = 0; i < std::max(x->size(), y->size()); ++i)
    out.push_back(combine((*x)[x->size() == 1 ? 0 : i], (*y)[y->size() == 1 ? 0 : i]));
  ctx.out().content = std::move(out);
}

BroadcastIndex::BroadcastIndex(const Dims& in, const Dims& out)
    : out_strides_(row_major(out)), in_strides_(out.size(), 0) {
  const Dims dense = row_major(in);
  const size_t skip = out.size() - in.size();
  for (size_t i = 0; i < in.size(); ++i)
    if (in[i] != 1) in_strides_[skip + i] = dense[i];
}
int64_t BroadcastIndex::operator()(int64_t i) const {
  int64_t at = 0;
  for (size_t d = 0; d < out_strides_.size(); ++d) {
    at += i / out_strides_[d] * in_strides_[d];
    i %= out_strides_[d];
  }
  return at;
}

}  // namespace vitrail
