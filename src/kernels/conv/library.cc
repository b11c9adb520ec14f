// SPDX-License-Identifier: Apache-2.0
// Convolutions by cuDNN, with bias and residual in its graph. The packed weight, which
// all rows share, is turned into cuDNN's order by a launch of ours before each call: a copy of a
// small tensor that needs no second weight in the plan.
#include <algorithm>

#include "backends/cuda/cudnn.h"
#include "base/error.h"
#include "base/round.h"
#include "kernels/conv/cuda.h"
#include "kernels/conv/family.h"
#include "kernels/conv/taps.h"
#include "kernels/cuda/mma_tiles.h"
#include "kernels/library_epilogue.h"

namespace vitrail {
namespace {

constexpr int kTactics = 4;
constexpr int64_t kAlign = 256, kWorkspace = 16 << 20;

/// As conv_cuda_mma packs: channels of a tap filled up to whole 16-byte copies where there are
/// enough.
int64_t packed_channels(int64_t c) { return c < 8 ? c : round_up(c, int64_t{8}); }

struct Call {
  std::string refused;
  std::map<std::string, Expr, std::less<>> numbers;
};

Call call_of(const Problem& p) {
  Call out;
  const auto refuse = [&](std::string why) {
    out.refused = std::move(why);
    return out;
  };
  if (p.inputs.size() < 2 || p.outputs.empty() || p.epilogue_inputs != 2)
    return refuse("conv needs x, a weight and an output");
  if (p.fixed_order) return refuse("its order of sums is not known, and may follow the extents");
  if (Refusal why = cuda::check_float_operands(p); !why.empty()) return refuse(std::move(why));
  const Operand &x = p.inputs[0], &w = p.inputs[1], &y = p.outputs[0];
  if (x.dims.size() != 4 || w.dims.size() != 4 || y.dims.size() != 4)
    return refuse("x, weight and output need 4 axes");
  if (x.dtype != w.dtype)
    return refuse(fmt::format("x is {} and the weight {}", name_of(x.dtype), name_of(w.dtype)));
  if (y.dtype != x.dtype && y.dtype != DType::f32)
    return refuse(fmt::format("x is {} and the output {}", name_of(x.dtype), name_of(y.dtype)));
  if (x.constant || !w.constant || !is_static(w.dims)) return refuse("the weight is not constant");
  if (p.integer("group", 1) != 1) return refuse("more than one group");
  if (w.dims[1] != x.dims[3] || w.dims[0] != y.dims[3] || x.dims[0] != y.dims[0])
    return refuse("extents do not match");
  if (!x.strides[3].is(1) || !y.strides[3].is(1)) return refuse("channels are not innermost");
  const ConvInts ints(p);
  if (ints.pad_top < 0 || ints.pad_left < 0) return refuse("a negative pad");
  LibraryEpilogue epilogue;
  if (!library_epilogue(p, epilogue) || epilogue.activation != 0)
    return refuse("an epilogue other than bias and residual");

  const auto number = [&](const char* name, const Expr& e) { out.numbers[name] = e; };
  const auto strides = [&](const std::string& name, const Operand& o) {
    const char* axes[] = {"_n", "_h", "_w", "_c"};
    for (size_t i = 0; i < 4; ++i) out.numbers[name + axes[i]] = o.strides[i];
  };
  const auto type = [](DType t) { return Expr(static_cast<int64_t>(t)); };
  const auto align = [&](bool output, int i) {
    return Expr(cuda::known_alignment(p, output, static_cast<size_t>(i)));
  };
  const int inputs = static_cast<int>(p.inputs.size());
  const int workspace = inputs + static_cast<int>(p.outputs.size());
  number("n", x.dims[0]), number("h", x.dims[1]), number("w", x.dims[2]), number("c", x.dims[3]);
  number("o", w.dims[0]), number("kh", w.dims[2]), number("kw", w.dims[3]);
  number("oh", y.dims[1]), number("ow", y.dims[2]);
  number("x", 0), number("weight", workspace), number("y", inputs);
  number("bias", epilogue.bias), number("residual", epilogue.residual);
  number("type", type(x.dtype)), number("y_type", type(y.dtype));
  strides("x", x), strides("y", y);
  number("align_x", align(false, 0)), number("align_y", align(true, 0));
  if (epilogue.bias >= 0) number("align_bias", align(false, epilogue.bias));
  if (epilogue.residual >= 0) {
    strides("r", p.inputs[static_cast<size_t>(epilogue.residual)]);
    number("align_residual", align(false, epilogue.residual));
  }
  number("stride_h", ints.stride_h), number("stride_w", ints.stride_w);
  number("pad_top", ints.pad_top), number("pad_left", ints.pad_left);
  number("dilation_h", ints.dilation_h), number("dilation_w", ints.dilation_w);
  number("workspace_at", workspace);
  number("tf32", x.dtype == DType::f32 && p.integer("tf32", 0) != 0);
  return out;
}

Refusal accepts(const Problem& p, const GpuMachine& machine) {
  if (machine.cudnn.version == 0) return machine.cudnn.missing;
  return call_of(p).refused;
}

std::vector<Tactic> tactics(const BoundProblem& bound, const GpuMachine& machine) {
  const Call call = call_of(constant_problem(bound));
  if (!call.refused.empty() || element_count(bound.outputs[0].dims) == 0) return {};
  Bindings numbers;
  for (const auto& [name, e] : call.numbers) numbers[name] = e.constant();
  try {
    return cuda::cudnn_tactics(cuda::Device::open(machine.device), numbers, kTactics);
  } catch (const Error& error) {
    if (error.code != Code::resource) throw;
    return {};  // what it cannot describe, it cannot do
  }
}

GpuCode generate(const Problem& p, const Tactic& tactic, const GpuMachine& machine) {
  constexpr int kThreads = 256;
  Call call = call_of(p);
  int64_t workspace = kWorkspace;
  for (const auto& [name, value] : tactic) {
    if (name == "workspace") workspace = round_up(value, kAlign);
    call.numbers[name] = value;
  }
  call.numbers["workspace"] = workspace;
  call.numbers["weight_offset"] = workspace;
  const Operand& w = p.inputs[1];
  const Dims d = to_dims(w.dims);  // o, c, kh, kw
  const int64_t items = element_count(d), row = round_up(d[0], int64_t{8});
  cuda::SourceText text(p);
  text.entry("turn", kThreads,
             // No early start for what follows: a library's kernels may ask for one and then read
             // before they wait.
             fmt::format("  const int item = blockIdx.x * {0} + threadIdx.x;\n"
                         "  if (item >= {1}) return;\n"
                         "  const int c = item % {2}, tap = item / {2} % {3}, o = item / {4};\n"
                         "  const {5} x = a.in1[(tap * {6} + c) * {7} + o];\n  vt_wait();\n"
                         "  reinterpret_cast<{5}*>(a.workspace + {8})[item] = x;\n",
                         kThreads, items, d[1], d[2] * d[3], d[1] * d[2] * d[3],
                         cuda::c_type(w.dtype), packed_channels(d[1]), row, workspace));
  GpuCode code = text.finish(
      {{.entry = "turn", .grid = {(items + kThreads - 1) / kThreads, 1, 1}, .threads = kThreads}},
      workspace + round_up(items * static_cast<int64_t>(size_of(w.dtype)), kAlign));
  GpuLaunch& launch = code.launches.emplace_back();
  launch.library = {"cudnn", machine.cudnn.version, "convolution", std::move(call.numbers)};
  return code;
}

// Ours has the lower cost of a launch and was as fast on the largest measured: beyond that it is a
// guess (docs/results/gpu_libraries.md).
bool preferred(const BoundProblem& bound, const GpuMachine&) {
  const Dims& w = bound.inputs[1].dims;
  const double products = static_cast<double>(element_count(bound.outputs[0].dims)) *
                          static_cast<double>(w[1] * w[2] * w[3]);
  return size_of(bound.inputs[0].dtype) == 2 && w[1] % 8 == 0 && products >= 3e10;
}

}  // namespace

extern const GpuKernel conv_cudnn;
const GpuKernel conv_cudnn{.name = "conv_cudnn",
                           .family = "conv",
                           .accepts = accepts,
                           .tactics = tactics,
                           .generate = generate,
                           .pack =
                               [](const Problem& p, size_t index, const Tensor& dense) {
                                 return index == 1 ? conv_cuda_pack(p, false, dense) : dense;
                               },
                           .preferred = preferred};

}  // namespace vitrail
