// SPDX-License-Identifier: Apache-2.0
// ONNX Einsum-12: numpy.einsum with any number of operands, repeated labels and ellipses.
#include <algorithm>
#include <cctype>
#include <map>

#include "ops/contraction.h"
#include "ops/movement.h"

namespace vitrail {
namespace {
// Labels are letters; those of an ellipsis are negative, counted from its right end so that
// ellipses of different length align as in broadcasting.
using Labels = std::vector<int>;
struct Equation {
  std::vector<Labels> inputs;
  Labels output;
};

Equation parse(const std::string& text, const std::vector<size_t>& ranks) {
  std::string equation;
  for (char c : text)
    if (!std::isspace(static_cast<unsigned char>(c))) equation += c;
  const auto bad = [&](const char* why) {
    fail(Code::bad_input, "equation '{}': {}", printable(text), why);
  };
  const size_t arrow = equation.find("->");
  std::vector<std::string> terms(1);
  for (char c : equation.substr(0, arrow)) {
    if (c == ',')
      terms.emplace_back();
    else
      terms.back() += c;
  }
  if (terms.size() != ranks.size()) bad("as many terms as inputs are needed");

  size_t ellipsis = 0;  // axes that an ellipsis stands for, at most
  const auto read = [&](const std::string& term, std::optional<size_t> rank) {
    Labels labels;
    const size_t dots = term.find("...");
    const size_t letters = dots == std::string::npos ? term.size() : term.size() - 3;
    if (rank && (dots == std::string::npos ? letters != *rank : letters > *rank))
      bad("a term does not fit the rank of its input");
    const size_t hidden = dots == std::string::npos ? 0 : rank ? *rank - letters : ellipsis;
    for (size_t i = 0; i < term.size(); ++i) {
      if (i == dots) {
        for (size_t h = hidden; h-- > 0;) labels.push_back(-1 - static_cast<int>(h));
        i += 2;
      } else if (std::isalpha(static_cast<unsigned char>(term[i]))) {
        labels.push_back(term[i]);
      } else {
        bad("only letters, '...', ',' and '->' are expected");
      }
    }
    if (rank) ellipsis = std::max(ellipsis, hidden);
    return labels;
  };
  Equation out;
  std::map<int, int> count;
  for (size_t i = 0; i < terms.size(); ++i) {
    out.inputs.push_back(read(terms[i], ranks[i]));
    for (int label : out.inputs.back()) ++count[label];
  }
  if (arrow != std::string::npos) {
    out.output = read(equation.substr(arrow + 2), {});
    for (int label : out.output) {
      if (!count.contains(label)) bad("a label of the output is in no input");
      if (std::count(out.output.begin(), out.output.end(), label) > 1)
        bad("a label of the output is given twice");
    }
    return out;
  }
  for (size_t h = ellipsis; h-- > 0;) out.output.push_back(-1 - static_cast<int>(h));
  for (const auto& [label, times] : count)
    if (label > 0 && times == 1) out.output.push_back(label);
  return out;
}

Equation equation_of(const Attrs& attrs, const std::vector<size_t>& ranks) {
  return parse(attrs.text("equation"), ranks);
}

void infer(InferContext& ctx) {
  std::vector<size_t> ranks;
  for (size_t i = 0; i < ctx.inputs.size(); ++i) {
    const DType t = ctx.in(i).dtype;
    require(is_float(t) || is_integer(t), Code::bad_input, "input {} is {}, a number is needed", i,
            name_of(t));
    require_type_of_first(ctx, i);
    ranks.push_back(ctx.in(i).rank());
  }
  const Equation equation = equation_of(ctx.attrs, ranks);
  std::map<int, Expr> extents;
  for (size_t i = 0; i < ranks.size(); ++i)
    for (size_t d = 0; d < ranks[i]; ++d) {
      const Expr& next = ctx.in(i).shape[d];
      const auto [at, fresh] = extents.emplace(equation.inputs[i][d], next);
      if (!fresh) at->second = ctx.broadcast({at->second}, {next})[0];
    }
  ctx.out().dtype = ctx.in(0).dtype;
  for (int label : equation.output) ctx.out().shape.push_back(extents.at(label));
}

// A run with numbers: for each input the stride of every label, the labels of the output first.
struct Plan {
  Labels labels;
  Dims extents;
  size_t outputs;  // labels of the output; the rest is summed
  std::vector<Dims> strides;
};
Plan plan_of(const Equation& equation, const std::vector<const Tensor*>& inputs) {
  Plan plan{equation.output, {}, equation.output.size(), {}};
  std::map<int, int64_t> extents;
  for (size_t i = 0; i < inputs.size(); ++i)
    for (size_t d = 0; d < inputs[i]->rank(); ++d) {
      const int label = equation.inputs[i][d];
      const auto [at, fresh] = extents.emplace(label, inputs[i]->dims()[d]);
      if (at->second == 1) at->second = inputs[i]->dims()[d];
      if (fresh && std::find(plan.labels.begin(), plan.labels.end(), label) == plan.labels.end())
        plan.labels.push_back(label);
    }
  for (int label : plan.labels) plan.extents.push_back(extents.at(label));
  for (size_t i = 0; i < inputs.size(); ++i) {
    Dims strides(plan.labels.size(), 0);
    const Dims dense = row_major(inputs[i]->dims());
    for (size_t d = 0; d < dense.size(); ++d) {
      const auto at = std::find(plan.labels.begin(), plan.labels.end(), equation.inputs[i][d]) -
                      plan.labels.begin();
      // A label given twice walks the diagonal: its strides add up.
      if (inputs[i]->dims()[d] != 1) strides[static_cast<size_t>(at)] += dense[d];
    }
    plan.strides.push_back(std::move(strides));
  }
  return plan;
}

template <typename T>
void run_plain(const Plan& plan, const std::vector<const Tensor*>& inputs, Tensor& out) {
  using Sum = Accumulator<T>;
  const auto middle = plan.extents.begin() + static_cast<std::ptrdiff_t>(plan.outputs);
  const Dims kept(plan.extents.begin(), middle), summed(middle, plan.extents.end());
  const bool empty = element_count(summed) == 0;
  T* to = out.mutable_data<T>();
  if (out.size() == 0) return;
  Dims at(kept.size(), 0);
  do {
    Sum sum = 0;
    Dims inner(summed.size(), 0);
    if (!empty) do {
        Sum product = 1;
        for (size_t i = 0; i < inputs.size(); ++i) {
          int64_t offset = 0;
          for (size_t d = 0; d < at.size(); ++d) offset += at[d] * plan.strides[i][d];
          for (size_t d = 0; d < inner.size(); ++d)
            offset += inner[d] * plan.strides[i][at.size() + d];
          product *= static_cast<Sum>(inputs[i]->data<T>()[offset]);
        }
        sum += product;
      } while (next_index(inner, summed));
    *to++ = static_cast<T>(sum);
  } while (next_index(at, kept));
}

// Two operands as batched matrix products: labels in both and in the output are the batch, in both
// only the inner one, in one and in the output rows or columns. False where a label fits none.
template <typename T>
bool run_as_matmul(const Equation& equation, const Plan& plan,
                   const std::vector<const Tensor*>& inputs, Tensor& out) {
  if (inputs.size() != 2) return false;
  std::vector<size_t> batch, rows, columns, inner;
  for (size_t l = 0; l < plan.labels.size(); ++l) {
    const auto times = [&](size_t i) {
      return std::count(equation.inputs[i].begin(), equation.inputs[i].end(), plan.labels[l]);
    };
    const bool in_a = times(0) == 1, in_b = times(1) == 1, kept = l < plan.outputs;
    if (times(0) > 1 || times(1) > 1 || (!kept && !(in_a && in_b))) return false;
    for (size_t i = 0; i < 2; ++i)  // extents of 1 that broadcast
      if (times(i) && plan.strides[i][l] == 0 && plan.extents[l] != 1) return false;
    (kept ? (in_a && in_b ? batch : in_a ? rows : columns) : inner).push_back(l);
  }
  const auto extent = [&](const std::vector<size_t>& group) {
    int64_t count = 1;
    for (size_t l : group) count *= plan.extents[l];
    return count;
  };
  const auto arranged = [&](size_t i, const std::vector<std::vector<size_t>>& groups) {
    Dims dims, strides;
    for (const auto& group : groups)
      for (size_t l : group) {
        dims.push_back(plan.extents[l]);
        strides.push_back(plan.strides[i][l]);
      }
    return strided_copy(*inputs[i], dims, 0, strides);
  };
  const Tensor a = arranged(0, {batch, rows, inner}), b = arranged(1, {batch, inner, columns});
  const Dims a_dims = {extent(batch), extent(rows), extent(inner)},
             b_dims = {a_dims[0], a_dims[2], extent(columns)};
  const Dims c_dims = {a_dims[0], a_dims[1], b_dims[2]};
  Tensor c(a.dtype(), c_dims);
  multiply(matmul_shape(a_dims, b_dims, c_dims), a.data<T>(), b.data<T>(), c.mutable_data<T>());
  // c is [batch, rows, columns]; the output has these labels in the order of the equation.
  Dims strides(plan.outputs, 0);
  int64_t stride = 1;
  for (const auto* group : {&columns, &rows, &batch})
    for (size_t g = group->size(); g-- > 0;) {
      strides[(*group)[g]] = stride;
      stride *= plan.extents[(*group)[g]];
    }
  out = strided_copy(c, out.dims(), 0, strides);
  return true;
}

void reference(RunContext& ctx) {
  const Dims dims = dims_by_rule(ctx, infer);
  std::vector<size_t> ranks;
  for (const Tensor* t : ctx.inputs) ranks.push_back(t->rank());
  const Equation equation = equation_of(ctx.attrs, ranks);
  const Plan plan = plan_of(equation, ctx.inputs);
  ctx.out() = Tensor(ctx.in(0).dtype(), dims);
  with_type(ctx.in(0).dtype(), "Einsum", [&](auto tag) {
    using T = decltype(tag);
    double products = 1;
    for (int64_t extent : plan.extents) products *= static_cast<double>(extent);
    constexpr double kLarge = 1e5;
    if constexpr (std::is_floating_point_v<T>)
      if (products >= kLarge && run_as_matmul<T>(equation, plan, ctx.inputs, ctx.out())) return;
    run_plain<T>(plan, ctx.inputs, ctx.out());
  });
}
std::vector<Sample> samples() {
  return {{.inputs = {{.dims = {2, 3, 5, 4}}, {.dims = {2, 3, 7, 4}}},
           .attrs = {{"equation", "bhlk,bhtk->bhlt"}}},
          {.inputs = {{.dims = {2, 3, 5}}, {.dims = {5, 4}}},
           .attrs = {{"equation", "...i, ij -> ...j"}}},
          {.inputs = {{.dims = {4, 4, 3}}}, .attrs = {{"equation", "iij->ji"}}},
          {.inputs = {{.dims = {3, 4}}, {.dims = {4, 5}}, {.dims = {5}}},
           .attrs = {{"equation", "ab,bc,c"}}},
          {.inputs = {{.dims = {2, 1, 3}}, {.dims = {5, 3}}},
           .attrs = {{"equation", "...a,...a->..."}}},
          {.inputs = {{.dtype = DType::i64, .dims = {3, 4}, .low = -9, .high = 9}},
           .attrs = {{"equation", "ij->"}}}};
}
}  // namespace
extern const OpDef einsum_op{.name = "Einsum",
                             .domain = "",
                             .version = 12,
                             .attrs = {{"equation", AttrKind::text, true}},
                             .min_inputs = 1,
                             .max_inputs = kMany,
                             .min_outputs = 1,
                             .max_outputs = 1,
                             .traits = {.reduction = true},
                             .infer = infer,
                             .reference = reference,
                             .samples = samples};
}  // namespace vitrail
