// SPDX-License-Identifier: Apache-2.0
#include "kernels/depthwise/family.h"

#include <algorithm>

#include "kernels/reference.h"
#include "kernels/samples.h"

namespace vitrail {
namespace {
constexpr int64_t kChannelPad = 16;

Tensor pack(const Problem&, size_t index, const Tensor& dense) {
  if (index != 1) return dense;
  const int64_t c = dense.dims()[0], taps = dense.dims()[2] * dense.dims()[3];
  const int64_t padded = (c + kChannelPad - 1) / kChannelPad * kChannelPad;
  Tensor out(DType::f32, {dense.dims()[2], dense.dims()[3], padded});
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t i = 0; i < padded; ++i)
      out.mutable_data<float>()[tap * padded + i] =
          i < c ? dense.data<float>()[i * taps + tap] : 0.0f;
  return out;
}

int64_t packed_bytes(const Problem& problem, size_t index) {
  if (index != 1) return -1;
  const Dims dims = to_dims(problem.inputs[1].dims);
  const int64_t padded = (dims[0] + kChannelPad - 1) / kChannelPad * kChannelPad;
  return 4 * dims[2] * dims[3] * padded;
}

void reference(const BoundProblem& problem, const std::vector<Tensor>& inputs,
               std::vector<Tensor>& outputs) {
  const Problem& p = *problem.problem;
  const Dims &x = inputs.at(0).dims(), &weight = inputs.at(1).dims();
  Tensor own(DType::f64, outputs.at(0).dims());
  double* to = own.mutable_data<double>();
  for_each_index(own.dims(), [&](const Dims& at) {
    double sum = 0;
    for (int64_t i = 0; i < weight[2]; ++i)
      for (int64_t j = 0; j < weight[3]; ++j) {
        const int64_t y = at[1] * p.integer("stride_h", 1) - p.integer("pad_top", 0) +
                          i * p.integer("dilation_h", 1);
        const int64_t z = at[2] * p.integer("stride_w", 1) - p.integer("pad_left", 0) +
                          j * p.integer("dilation_w", 1);
        if (y < 0 || y >= x[1] || z < 0 || z >= x[2]) continue;
        sum += inputs[0].data<double>()[((at[0] * x[1] + y) * x[2] + z) * x[3] + at[3]] *
               inputs[1].data<double>()[(at[3] * weight[2] + i) * weight[3] + j];
      }
    *to++ = sum;
  });
  apply_epilogue(p, own, inputs, outputs);
}

struct Window2d {
  int64_t kh, kw, stride, pad, dilation;
};
Problem make(Operand x, Operand out, Window2d k, int64_t stride_w = 0) {
  const int64_t c = out.dims[3].constant();
  Problem p = sample_problem("depthwise", {std::move(x), weight(sample({c, 1, k.kh, k.kw}))},
                             std::move(out));
  p.ints = {{"stride_h", k.stride},     {"stride_w", stride_w ? stride_w : k.stride},
            {"pad_top", k.pad},         {"pad_left", k.pad},
            {"dilation_h", k.dilation}, {"dilation_w", k.dilation}};
  return p;
}
/// Padded on both sides alike.
Problem same(Expr n, Expr h, Expr w, int64_t c, Window2d k) {
  const auto out = [&](const Expr& extent, int64_t taps) {
    return floordiv(extent + (2 * k.pad - (taps - 1) * k.dilation - 1), k.stride) + 1;
  };
  return make(sample({n, h, w, c}), sample({n, out(h, k.kh), out(w, k.kw), c}), k);
}

std::vector<Problem> samples() {
  const Expr h = Expr::symbol("H"), w = Expr::symbol("W");
  std::vector<Problem> out;
  for (int64_t stride : {1, 2})
    for (int64_t c : {1, 16, 31, 70}) out.push_back(same(2, h, w, c, {3, 3, stride, 1, 1}));
  out.push_back(same(1, h, w, 20, {5, 5, 1, 2, 1}));
  out.push_back(same(1, h, w, 33, {3, 5, 2, 2, 1}));
  out.push_back(same(1, h + 6, w + 6, 18, {3, 3, 1, 0, 3}));
  out.push_back(same(1, h, w, 18, {3, 3, 1, 2, 2}));
  out.push_back(same(1, h + 2, w + 2, 36, {3, 3, 1, 0, 1}));
  out.push_back(make(sample({1, h + 2, 2 * w + 1, 24}), sample({1, h, w, 24}), {3, 3, 1, 0, 1}, 2));
  // Windows of larger buffers on both sides, padded below and to the right only.
  out.push_back(make(window({2, h, w, 40}, {2, h + 1, w + 2, 50}),
                     window({2, h, w, 40}, {2, h + 3, w + 1, 41}), {3, 3, 1, 0, 1}));
  out.push_back(make(sample({1, h, w, 17}), strided({1, h, w, 17}, {17 * h * w, w, 1, h * w}),
                     {3, 3, 1, 1, 1}));
  for (EpilogueForm form : kEpilogueForms) {
    out.push_back(with_epilogue(same(1, h, w, 35, {3, 3, 1, 1, 1}), form));
    out.push_back(with_epilogue(same(2, 9, w, 19, {5, 5, 2, 2, 1}), form));
  }
  return out;
}

double flop(const BoundProblem& problem) {
  const Dims& weight = problem.inputs[1].dims;
  return 2.0 * static_cast<double>(element_count(problem.outputs[0].dims)) *
         static_cast<double>(weight[2] * weight[3]);
}
double tolerance(const BoundProblem& problem) {
  // A running sum of kh * kw products below 1, each step rounded to half a unit of at most that
  // sum.
  const Dims& weight = problem.inputs[1].dims;
  return epilogue_tolerance(*problem.problem, 2 + static_cast<double>(weight[2] * weight[3]) / 4);
}
std::vector<BenchCase> bench() {
  return {{"cvt13 stage 1 56x56x64 s1",
           with_epilogue(same(1, 56, 56, 64, {3, 3, 1, 1, 1}), EpilogueForm::bias)},
          {"cvt13 stage 1 56x56x64 s2",
           with_epilogue(same(1, 56, 56, 64, {3, 3, 2, 1, 1}), EpilogueForm::bias)},
          {"cvt13 stage 3 14x14x384 s1",
           with_epilogue(same(1, 14, 14, 384, {3, 3, 1, 1, 1}), EpilogueForm::bias)},
          {"mst++ 256x244x31", same(1, 256, 244, 31, {3, 3, 1, 1, 1})},
          {"mst++ 256x244x32 gelu",
           with_epilogue(same(1, 256, 244, 32, {3, 3, 1, 1, 1}), EpilogueForm::gelu)},
          {"mst++ 128x122x128", same(1, 128, 122, 128, {3, 3, 1, 1, 1})},
          {"uniformer 14x14x320 5x5",
           with_epilogue(same(1, 14, 14, 320, {5, 5, 1, 2, 1}), EpilogueForm::full)}};
}

int64_t default_rows(const BoundProblem& problem, int workers) {
  const Dims &out = problem.outputs.at(0).dims, &weight = problem.inputs.at(1).dims;
  constexpr double kNanoseconds = 0.02;  // of one product
  const double row = static_cast<double>(out[2] * out[3] * weight[2] * weight[3]) * kNanoseconds;
  return std::min(units_per_task(out[0] * out[1], row, 2, workers), (out[1] + 1) / 2 * 2);
}
}  // namespace

Refusal depthwise_accepts(const Problem& problem) {
  if (problem.inputs.size() < 2 || problem.outputs.empty())
    return "needs x, a weight and an output";
  if (problem.epilogue.inputs > 1 && problem.epilogue_inputs < 2)
    return "the epilogue's operands start before the weight";
  if (Refusal why = check_rows(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue(problem); !why.empty()) return why;
  if (Refusal why = check_epilogue_size(problem.epilogue); !why.empty()) return why;
  const Operand &x = problem.inputs[0], &weight = problem.inputs[1], &out = problem.outputs[0];
  if (x.dtype != DType::f32 || weight.dtype != DType::f32)
    return fmt::format("x is {} and the weight {}, not f32", name_of(x.dtype),
                       name_of(weight.dtype));
  if (x.dims.size() != 4 || out.dims.size() != 4 || weight.dims.size() != 4)
    return "x, weight and output need 4 axes";
  if (!weight.constant || !is_static(weight.dims)) return "the weight is not constant";
  if (!weight.dims[1].is(1) || x.dims[3] != weight.dims[0] || out.dims[3] != weight.dims[0])
    return fmt::format("weight {} with x {}: not one window per channel", to_string(weight.dims),
                       to_string(x.dims));
  if (x.dims[0] != out.dims[0]) return "x and output differ in images";
  if (!x.strides[3].is(1)) return "the channel stride of x is not 1";
  // Limits keep the arithmetic of a damaged plan inside 64 bits.
  constexpr int64_t kMaxWindow = 1024, kMaxStep = 1 << 20;
  for (size_t axis : {size_t{0}, size_t{2}, size_t{3}}) {
    const int64_t extent = weight.dims[axis].constant();
    if (extent < 1 || extent > (axis == 0 ? kMaxStep : kMaxWindow))
      return fmt::format("weight {} is empty or too large", to_string(weight.dims));
  }
  for (const char* key : {"stride_h", "stride_w", "dilation_h", "dilation_w"})
    if (const int64_t v = problem.integer(key, 1); v < 1 || v > kMaxStep)
      return fmt::format("{} is {}", key, v);
  for (const char* key : {"pad_top", "pad_left"})
    if (const int64_t v = problem.integer(key, 0); v < 0 || v > kMaxStep)
      return fmt::format("{} is {}", key, v);
  return {};
}

std::vector<Tactic> depthwise_tactics(const BoundProblem& problem, const Machine&, int workers) {
  std::vector<Tactic> out{{{"rows", default_rows(problem, workers)}}};
  for (int64_t rows : {2, 4, 8, 16}) {
    const Tactic tactic{{"rows", rows}};
    if (rows < problem.outputs[0].dims[1] && tactic != out[0]) out.push_back(tactic);
  }
  return out;
}

Launch depthwise_bind(const BoundProblem& problem, const Tactic& tactic, const Machine&,
                      int workers) {
  const Problem& p = *problem.problem;
  const BoundOperand &x = problem.inputs.at(0), &out = problem.outputs.at(0);
  const Dims& weight = problem.inputs.at(1).dims;
  DepthwiseState s{};
  s.h = x.dims[1], s.w = x.dims[2], s.c = x.dims[3];
  s.oh = out.dims[1], s.ow = out.dims[2];
  s.kh = weight[2], s.kw = weight[3];
  s.stride_h = p.integer("stride_h", 1), s.stride_w = p.integer("stride_w", 1);
  s.pad_top = p.integer("pad_top", 0), s.pad_left = p.integer("pad_left", 0);
  s.dilation_h = p.integer("dilation_h", 1), s.dilation_w = p.integer("dilation_w", 1);
  const bool three =
      s.kh == 3 && s.kw == 3 && s.stride_h == s.stride_w && s.dilation_h == 1 && s.dilation_w == 1;
  s.kind = !three || s.stride_h > 2 ? DepthwiseState::kGeneral
           : s.stride_h == 2        ? DepthwiseState::k3x3s2
                                    : DepthwiseState::k3x3s1;
  s.padded = (s.c + kChannelPad - 1) / kChannelPad * kChannelPad;
  s.x_n = x.strides[0], s.x_h = x.strides[1], s.x_w = x.strides[2];
  s.inputs = static_cast<int64_t>(problem.inputs.size());
  s.outputs = static_cast<int64_t>(problem.outputs.size());
  s.first = p.epilogue_inputs;
  size_t index = 0;
  for (const auto* list : {&problem.inputs, &problem.outputs})
    for (const BoundOperand& o : *list)
      std::copy(o.strides.begin(), o.strides.end(), s.strides[index++]);
  std::vector<TileStrides> operands;
  for (int i = 0; i + 1 < p.epilogue.inputs; ++i)
    operands.push_back({s.strides[s.first + i][2], s.strides[s.first + i][3]});
  s.epilogue = compile_epilogue(p.epilogue, operands);
  s.bias = -1;
  if (out.strides[3] == 1 && s.epilogue.only_adds() && s.epilogue.residual < 0) {
    if (s.epilogue.kind == EpilogueCode::Kind::chain) s.bias = s.first + s.epilogue.bias;
    // The sums start from the bias; two rows share it.
    s.direct = s.bias < 0 || s.strides[s.bias][1] == 0;
  }
  const auto found = tactic.find("rows");
  const int64_t rows = found != tactic.end() ? found->second : default_rows(problem, workers);
  s.rows_per_task = std::clamp<int64_t>(rows, 1, std::max<int64_t>(s.oh, 1));
  s.tasks_per_image = (s.oh + s.rows_per_task - 1) / s.rows_per_task;
  // Two rows of a tile stay in the first-level cache until the epilogue has read them.
  constexpr int64_t kTileFloats = 3072, kGrain = 8;
  s.ld = s.padded;
  s.chunk = s.direct ? s.ow
                     : std::clamp<int64_t>(kTileFloats / s.ld / kGrain * kGrain, kGrain,
                                           std::max<int64_t>(s.ow, kGrain));
  Launch launch;
  launch.tasks = element_count(out.dims) == 0 ? 0 : out.dims[0] * s.tasks_per_image;
  if (!s.direct)
    launch.scratch_bytes =
        static_cast<size_t>(2 * s.chunk * s.ld + epilogue_scratch(s.epilogue, s.chunk * s.ld)) *
        sizeof(float);
  append_state(launch.state, s);
  return launch;
}

extern const KernelFamily depthwise_family;
const KernelFamily depthwise_family{.name = "depthwise",
                                    .pack = pack,
                                    .reference = reference,
                                    .samples = samples,
                                    .flop = flop,
                                    .tolerance = tolerance,
                                    .bench = bench,
                                    .packed_bytes = packed_bytes};

}  // namespace vitrail
