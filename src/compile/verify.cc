// SPDX-License-Identifier: Apache-2.0
// A plan against the oracle on the graph as imported.
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "compare/difference.h"
#include "compile/rounded.h"
#include "compile/verify.h"
#include "oracle/oracle.h"
#include "runtime/executor.h"

namespace vitrail {
namespace {

// Which extents are tried: the input shapes of one trial.
using Shapes = std::map<std::string, Dims>;
using ShapeSet = std::map<std::string, ShapeRange>;

// The image inputs of vision models lie around 0..1; odd elements keep equal images apart.
Tensor input_for(const ir::Value& value, const Dims& dims, uint64_t seed) {
  return is_float(value.dtype) ? random_tensor(value.dtype, dims, seed, 0, 1)
                               : random_tensor(value.dtype, dims, seed, 0, 8);
}

class Verification {
 public:
  Verification(const ir::Graph& imported, Plan& plan, const BuildOptions& options,
               const KernelSet& kernels, References& references, BuildReport& report)
      : imported_(imported),
        options_(options),
        references_(references),
        report_(report),
        shared_(&plan, [](const Plan*) {}),
        executor_(shared_, {.threads = options.threads,
                            .poison = true,
                            .kernels = kernels.all,
                            .device = options.device}),
        plan_(plan) {}

  std::optional<FailedTrial> run() {
    std::vector<const ShapeSet*> sets;
    for (const ShapeSet& set : options_.profiles) sets.push_back(&set);
    if (sets.empty()) sets.push_back(&options_.shapes);
    for (const ShapeSet* set : sets) {
      ranges_ = set;
      trial(at(&ShapeRange::opt), 1);
      if (const auto two = batch(2)) trial(*two, 2);
      if (options_.verify != VerifyLevel::full) continue;
      trial(at(&ShapeRange::min), 3);
      trial(at(&ShapeRange::max), 4);
      identical_images();
    }
    plan_.verification.clear();
    for (const CheckRow& r : report_.verification)
      plan_.verification.push_back({r.output, r.at, r.abs_max, r.abs_mean, r.abs_median, r.rel_max,
                                    r.rel_mean, r.rel_median, r.cosine, r.sqnr_db, r.ok});
    return failed_;
  }

 private:
  Shapes at(Dims ShapeRange::*which) const {
    Shapes out;
    for (ir::ValueId in : imported_.inputs) {
      const ir::Value& value = imported_.value(in);
      const auto given = ranges_->find(value.name);
      out[value.name] = given == ranges_->end() ? to_dims(value.shape) : given->second.*which;
    }
    return out;
  }
  // The opt shapes with a batch (dynamic first extent) of n, when the ranges allow it and opt has
  // another. The batch may be an extent elsewhere, too.
  std::optional<Shapes> batch(int64_t n) const {
    std::vector<Expr> batches;
    for (ir::ValueId in : imported_.inputs)
      if (const Shape& shape = imported_.value(in).shape; !shape.empty() && !shape[0].is_constant())
        batches.push_back(shape[0]);
    Shapes out = at(&ShapeRange::opt);
    bool changed = false;
    for (ir::ValueId in : imported_.inputs) {
      const ir::Value& value = imported_.value(in);
      const auto range = ranges_->find(value.name);
      if (range == ranges_->end()) continue;
      for (size_t d = 0; d < value.shape.size(); ++d) {
        if (std::find(batches.begin(), batches.end(), value.shape[d]) == batches.end()) continue;
        if (range->second.min[d] > n || range->second.max[d] < n) return {};
        changed |= range->second.opt[d] != n;
        out[value.name][d] = n;
      }
    }
    return changed ? std::optional(out) : std::nullopt;
  }
  std::string text(const Shapes& shapes) const {
    std::string out;
    for (ir::ValueId in : imported_.inputs) {
      const Dims& dims = shapes.at(imported_.value(in).name);
      out += (out.empty() ? "" : " ") + imported_.value(in).name + " ";
      for (size_t i = 0; i < dims.size(); ++i) out += (i ? "x" : "") + std::to_string(dims[i]);
    }
    return out;
  }
  std::vector<Tensor> run_plan(const std::vector<Tensor>& inputs) {
    const std::vector<Tensor> taken = as_taken(plan_, inputs);
    for (size_t i = 0; i < taken.size(); ++i) executor_.set_input(i, taken[i]);
    executor_.run();
    std::vector<Tensor> out;
    for (size_t i = 0; i < plan_.outputs.size(); ++i) out.push_back(executor_.output(i));
    return out;
  }
  std::vector<Tensor> inputs_for(const Shapes& shapes, uint64_t seed) const {
    std::vector<Tensor> out;
    for (ir::ValueId in : imported_.inputs) {
      out.push_back(input_for(imported_.value(in), shapes.at(imported_.value(in).name),
                              seed + out.size() * 1000));
      // The reference and the plan read the same numbers.
      if (options_.input_type == DType::f16) out.back() = rounded(out.back(), Rounding::f16);
    }
    return out;
  }

  void trial(const Shapes& shapes, uint64_t seed) {
    const std::vector<Tensor> inputs = inputs_for(shapes, seed);
    const std::string key = fmt::format("{} seed {}", text(shapes), seed);
    const std::vector<Tensor> got = run_plan(inputs);
    const std::vector<Tensor>&wanted = references_.outputs(key, inputs),
          &rounded = references_.rounded(key, inputs, options_);
    bool ok = true;
    for (size_t i = 0; i < got.size(); ++i)
      ok &= add(imported_.value(imported_.outputs[i]).name, text(shapes), got[i], wanted[i],
                tolerance(wanted[i], options_, 1), rounded.empty() ? nullptr : &rounded[i]);
    if (!ok && !failed_) failed_ = {key, inputs};
  }

  // The first image repeated through a batch must give the same bits in every row.
  void identical_images() {
    Shapes shapes = at(&ShapeRange::max);
    for (const auto& [name, dims] : shapes)
      if (dims.empty() || dims[0] < 2 || !ranges_->contains(name)) return;
    std::vector<Tensor> inputs = inputs_for(shapes, 5);
    for (Tensor& t : inputs) {
      const size_t image = t.bytes() / static_cast<size_t>(t.dims()[0]);
      char* data = static_cast<char*>(t.mutable_raw());
      for (int64_t n = 1; n < t.dims()[0]; ++n)
        std::memcpy(data + static_cast<size_t>(n) * image, data, image);
    }
    const std::vector<Tensor> got = run_plan(inputs);
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i].rank() == 0 || got[i].dims()[0] != inputs[0].dims()[0]) continue;
      Tensor repeated(got[i].dtype(), got[i].dims());
      const size_t row = got[i].bytes() / static_cast<size_t>(got[i].dims()[0]);
      for (int64_t n = 0; n < got[i].dims()[0]; ++n)
        std::memcpy(static_cast<char*>(repeated.mutable_raw()) + static_cast<size_t>(n) * row,
                    got[i].raw(), row);
      const bool ok = add(imported_.value(imported_.outputs[i]).name,
                          text(shapes) + ", identical images", got[i], repeated, 0);
      if (!ok && !failed_) failed_ = {text(shapes) + " identical", inputs};
    }
  }

  bool add(const std::string& output, const std::string& at_shapes, const Tensor& got,
           const Tensor& wanted, double allowed, const Tensor* rounded = nullptr) {
    const Difference d = compare(got, wanted, allowed, 0);
    CheckRow row{output,     at_shapes,    d.abs.max, d.abs.mean, d.abs.median, d.rel.max,
                 d.rel.mean, d.rel.median, d.cosine,  d.sqnr_db,  true};
    row.ok = d.same_shape && d.outside == 0;
    if (rounded && is_float(wanted.dtype())) {
      row.relative_l2 = relative_l2(d);
      row.rounded_l2 = relative_l2(compare(*rounded, wanted, 0, 0));
      // A yardstick beyond the type's range is none.
      row.ok &= !(row.relative_l2 > error_allowed(row.rounded_l2, wanted.size(), options_));
    }
    report_.verification.push_back(row);
    return row.ok;
  }

  const ir::Graph& imported_;
  const BuildOptions& options_;
  References& references_;
  BuildReport& report_;
  std::shared_ptr<const Plan> shared_;
  Executor executor_;
  Plan& plan_;
  const ShapeSet* ranges_ = nullptr;  // the set that is tried
  std::optional<FailedTrial> failed_;
};

}  // namespace

namespace {
constexpr int kHalfBits = 11;

Rounding rounding_of(const BuildOptions& options) {
  return options.storage == DType::bf16  ? Rounding::bf16
         : options.storage == DType::f16 ? Rounding::f16
         : options.tf32                  ? Rounding::tf32
                                         : Rounding::none;
}
// Of precision.
int bits_of(const BuildOptions& options) {
  const Rounding rounding = rounding_of(options);
  return rounding == Rounding::none ? 24 : rounding == Rounding::bf16 ? 8 : kHalfBits;
}
}  // namespace

double tolerance(const Tensor& reference, const BuildOptions& options, double floor) {
  constexpr double kUnits = 512, kStorageUnits = 64;
  double largest = 0;
  for (int64_t i = 0; i < reference.size(); ++i)
    largest = std::max(largest, std::fabs(reference.number_at(i)));
  const int bits = bits_of(options);
  const double output = options.output_type == DType::f16 ? std::ldexp(largest, -kHalfBits) : 0;
  return output +
         (bits == 24 ? kUnits : kStorageUnits) * std::ldexp(1.0, -bits) * std::max(largest, floor);
}

double error_allowed(double rounded_l2, int64_t elements, const BuildOptions& options) {
  const double scatter = 3 / std::sqrt(static_cast<double>(std::max<int64_t>(elements, 1)));
  return std::max(kMostOfRounding * (1 + scatter) * rounded_l2, std::ldexp(1.0, -bits_of(options)));
}

std::vector<Tensor> as_taken(const Plan& plan, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const DType type = plan.values[static_cast<size_t>(plan.inputs[i].value)].dtype;
    out.push_back(is_float(type) && is_float(inputs[i].dtype()) ? inputs[i].cast(type) : inputs[i]);
  }
  return out;
}

const std::vector<Tensor>& References::outputs(const std::string& key,
                                               const std::vector<Tensor>& inputs) {
  const auto known = known_.find(key);
  if (known != known_.end()) return known->second;
  return known_[key] =
             cache_.get(imported_, inputs, "", [&] { return oracle::run(imported_, inputs); });
}

const std::vector<Tensor>& References::rounded(const std::string& key,
                                               const std::vector<Tensor>& inputs,
                                               const BuildOptions& options) {
  const auto known = rounded_.find(key);
  if (known != rounded_.end()) return known->second;
  std::vector<Tensor>& out = rounded_[key];
  const Rounding rounding = rounding_of(options);
  if (rounding != Rounding::none && has_yardstick(imported_))
    out = cache_.get(imported_, inputs,
                     fmt::format("rounded {} {}", static_cast<int>(rounding),
                                 fmt::join(options.disabled_passes, " ")),
                     [&] {
                       return run_rounded(imported_, inputs, rounding, DType::f32,
                                          options.disabled_passes);
                     });
  return out;
}

std::optional<FailedTrial> verify_plan(const ir::Graph& imported, Plan& plan,
                                       const BuildOptions& options, const KernelSet& kernels,
                                       References& references, BuildReport& report) {
  if (options.verify == VerifyLevel::off) return {};
  return Verification(imported, plan, options, kernels, references, report).run();
}

}  // namespace vitrail
