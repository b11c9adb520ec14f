// SPDX-License-Identifier: Apache-2.0
// What a convolution becomes as a call of cuDNN. No device is needed.
#include <gtest/gtest.h>

#include "kernels/conv/samples.h"
#include "kernels/gpu_kernel.h"

namespace vitrail {
namespace {

GpuMachine with_library() {
  GpuMachine machine = typical_gpu(90);
  machine.cudnn = {91400, ""};
  return machine;
}
const GpuKernel& row() { return *find_gpu_kernel("conv_cudnn"); }

// 3x3 with stride 2 and pad 1, 12 to 20 channels.
Problem convolution(int epilogue) {
  Problem p = conv_problem({Expr::symbol("N"), 15, 14, 12, 20, 3, 3, 2, 1, 1, 1, epilogue}, false);
  for (size_t i = 2; i < p.inputs.size(); ++i) p.ints["align_in" + std::to_string(i)] = 16;
  return p;
}

TEST(Cudnn, TheWeightIsTurnedAndBiasAndResidualAreInItsGraph) {
  const Problem p = convolution(5);
  ASSERT_EQ(row().accepts(p, with_library()), "");
  const GpuCode code =
      row().generate(p, {{"engine", 41}, {"knob13", 1}, {"workspace", 300}}, with_library());
  ASSERT_EQ(code.launches.size(), 2u);
  EXPECT_EQ(code.launches[0].entry, "turn");
  EXPECT_NE(code.source.find("turn"), std::string::npos);
  const LibraryCall& call = *code.launches[1].library;
  EXPECT_EQ(call.library, "cudnn");
  EXPECT_EQ(call.version, 91400);
  const auto number = [&](const char* name) { return call.numbers.at(name); };
  EXPECT_EQ(number("n"), Expr::symbol("N"));
  EXPECT_TRUE(number("oh").is(8));
  EXPECT_TRUE(number("x_n").is(15 * 14 * 12));
  EXPECT_TRUE(number("bias").is(2));
  EXPECT_TRUE(number("residual").is(3));
  EXPECT_TRUE(number("y").is(4));
  EXPECT_TRUE(number("weight").is(5)) << "the workspace";
  EXPECT_TRUE(number("weight_offset").is(512)) << "behind what the engine wants";
  EXPECT_TRUE(number("engine").is(41));
  EXPECT_TRUE(code.workspace_bytes.is(512 + (20 * 9 * 12 * 4 + 255) / 256 * 256));
}

TEST(Cudnn, RefusesWithAReason) {
  const auto why = [](void (*edit)(Problem&, GpuMachine&)) {
    Problem p = convolution(1);
    GpuMachine machine = with_library();
    edit(p, machine);
    return row().accepts(p, machine);
  };
  EXPECT_EQ(why([](Problem&, GpuMachine& m) {
              m.cudnn = {0, "cuDNN was not found"};
            }),
            "cuDNN was not found");
  EXPECT_NE(why([](Problem& p, GpuMachine&) { p.fixed_order = true; }).find("order"),
            std::string::npos);
  EXPECT_NE(why([](Problem& p, GpuMachine&) { p.inputs[0].dtype = DType::f16; }).find("x is f16"),
            std::string::npos);
  EXPECT_NE(why([](Problem& p, GpuMachine&) {
              p.inputs[0].strides = {15 * 14 * 12, 14, 1, 15 * 14};
            }).find("channels"),
            std::string::npos);
  EXPECT_NE(why([](Problem& p, GpuMachine&) {
              p.epilogue.code = {{Pointwise::mul, 0, 1}};
            }).find("epilogue"),
            std::string::npos);
  EXPECT_NE(row().accepts(convolution(4), with_library()).find("epilogue"), std::string::npos)
      << "a ReLU";
}

}  // namespace
}  // namespace vitrail
