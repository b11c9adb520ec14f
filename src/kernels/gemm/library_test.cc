// SPDX-License-Identifier: Apache-2.0
// What a product becomes as a call of cuBLASLt: numbers, epilogues, refusals. No device is needed.
#include <gtest/gtest.h>

#include "kernels/gemm/samples.h"
#include "kernels/gpu_kernel.h"

namespace vitrail {
namespace {

GpuMachine with_library() {
  GpuMachine machine = typical_gpu(90);
  machine.cublas_lt = {130100, ""};
  return machine;
}
const GpuKernel& row() { return *find_gpu_kernel("gemm_cublaslt"); }

Operand dense(DType dtype, Shape dims, bool constant = false) {
  Operand out{dtype, dims, row_major(dims), constant};
  return out;
}

// [N, 50, 40] x [40, 24] with bias, in 16 bytes' alignment.
Problem product(DType type, int epilogue) {
  const Expr n = Expr::symbol("N");
  Problem p;
  p.family = "gemm";
  p.inputs = {dense(type, {n, 50, 40}), dense(type, {40, 20}, true)};
  p.outputs = {dense(type, {n, 50, 20})};
  p.epilogue_inputs = 2;
  add_sample_epilogue(p, epilogue);
  for (auto* list : {&p.inputs, &p.outputs})
    for (size_t i = 0; i < list->size(); ++i) {
      (*list)[i].dtype = type;
      p.ints[(list == &p.inputs ? "align_in" : "align_out") + std::to_string(i)] = 16;
    }
  return p;
}

const LibraryCall& call_of(const GpuCode& code) { return *code.launches.at(0).library; }
Expr number(const GpuCode& code, const char* name) { return call_of(code).numbers.at(name); }

TEST(CublasLt, BiasAndResidualAreItsOwnEpilogue) {
  const Problem p = product(DType::f16, 5);
  ASSERT_EQ(row().accepts(p, with_library()), "");
  const GpuCode code = row().generate(p, {{"algo", 66}, {"workspace", 1000}}, with_library());
  EXPECT_TRUE(code.source.empty());
  ASSERT_EQ(code.launches.size(), 1u);
  EXPECT_EQ(call_of(code).library, "cublasLt");
  EXPECT_EQ(call_of(code).version, 130100);
  EXPECT_EQ(number(code, "m"), 50 * Expr::symbol("N"));  // images and tokens are one tall matrix
  EXPECT_TRUE(number(code, "batch").is(1));
  EXPECT_TRUE(number(code, "n").is(20));
  EXPECT_TRUE(number(code, "ldb").is(24)) << "packed rows are filled up to 8";
  EXPECT_TRUE(number(code, "bias").is(2));
  EXPECT_TRUE(number(code, "c").is(3));
  EXPECT_TRUE(number(code, "d").is(4));
  EXPECT_TRUE(number(code, "algo").is(66));
  EXPECT_TRUE(number(code, "workspace").is(1024));
  EXPECT_TRUE(code.workspace_bytes.is(1024));
}

TEST(CublasLt, ItsGeluIsNotOurs) {
  const GpuCode code = row().generate(product(DType::f16, 2), {}, with_library());
  ASSERT_EQ(code.launches.size(), 2u) << "a float32 product, then the tail of ours";
  EXPECT_TRUE(number(code, "activation").is(0));
  EXPECT_TRUE(number(code, "bias").is(-1));
  EXPECT_TRUE(number(code, "d_type").is(static_cast<int64_t>(DType::f32)));
  EXPECT_TRUE(number(code, "d").is(4)) << "the workspace";
  EXPECT_EQ(number(code, "d_offset"), number(code, "workspace"));
  EXPECT_EQ(code.workspace_bytes,
            number(code, "workspace") + Expr(50 * 20 * 4) * Expr::symbol("N"));
  EXPECT_NE(code.source.find("vt_gelu"), std::string::npos);

  Problem tanh = product(DType::f16, 8);  // two results: before and after the activation
  EXPECT_EQ(row().generate(tanh, {}, with_library()).launches.size(), 2u);
  tanh.outputs.pop_back();
  tanh.epilogue.results = {3};
  const GpuCode fused = row().generate(tanh, {}, with_library());
  ASSERT_EQ(fused.launches.size(), 1u);
  EXPECT_TRUE(number(fused, "activation").is(2));
}

TEST(CublasLt, WhatItWouldReadOrRoundOtherwiseIsNotFused) {
  const auto launches = [](const Problem& p) {
    return row().generate(p, {}, with_library()).launches.size();
  };
  Problem wide_bias = product(DType::f16, 1);
  EXPECT_EQ(launches(wide_bias), 1u);
  wide_bias.inputs[2].dtype = DType::f32;
  EXPECT_EQ(launches(wide_bias), 2u) << "a bias of another type than the result";
  Problem unaligned = product(DType::f16, 1);
  unaligned.ints.erase("align_in2");
  EXPECT_EQ(launches(unaligned), 2u);
  Problem after = product(DType::f16, 1);  // relu(acc) + bias
  after.epilogue.code = {{Pointwise::relu, 0}, {Pointwise::add, 2, 1}};
  after.epilogue.results = {3};
  EXPECT_EQ(launches(after), 2u);
  Problem twice = product(DType::f16, 0);  // acc + acc
  twice.epilogue.code = {{Pointwise::add, 0, 0}};
  twice.epilogue.results = {1};
  EXPECT_EQ(launches(twice), 2u);
  Problem columns = product(DType::f16, 0);
  columns.outputs[0].strides = {50 * 20, 1, 50};
  EXPECT_EQ(launches(columns), 2u) << "rows of the output are not dense";
}

TEST(CublasLt, WindowsAndBatches) {
  Problem token = product(DType::f16, 0);  // one row of each image left out
  token.inputs[0].strides = {51 * 40, 40, 1};
  const GpuCode windows = row().generate(token, {}, with_library());
  EXPECT_EQ(number(windows, "batch"), Expr::symbol("N"));
  EXPECT_TRUE(number(windows, "m").is(50));
  EXPECT_TRUE(number(windows, "stride_a").is(51 * 40));
  EXPECT_TRUE(number(windows, "stride_b").is(0));
  EXPECT_TRUE(number(windows, "stride_d").is(50 * 20));

  const Expr n = Expr::symbol("N");
  Problem keys = product(DType::f32, 0);
  keys.inputs[1] = dense(DType::f32, {n, 40, 20});
  keys.inputs[1].strides = {800, 1, 40};
  keys.ints["tf32"] = 1;
  const GpuCode turned = row().generate(keys, {}, with_library());
  EXPECT_TRUE(number(turned, "trans_b").is(1));
  EXPECT_TRUE(number(turned, "ldb").is(40));
  EXPECT_TRUE(number(turned, "tf32").is(1));
  EXPECT_TRUE(number(turned, "stride_b").is(800));
}

TEST(CublasLt, RefusesWithAReason) {
  const auto why = [](void (*edit)(Problem&, GpuMachine&)) {
    Problem p = product(DType::f16, 1);
    GpuMachine machine = with_library();
    edit(p, machine);
    return row().accepts(p, machine);
  };
  EXPECT_EQ(why([](Problem&, GpuMachine& m) {
              m.cublas_lt = {0, "--no-libraries"};
            }),
            "--no-libraries");
  EXPECT_NE(why([](Problem& p, GpuMachine&) { p.fixed_order = true; }).find("order"),
            std::string::npos);
  EXPECT_NE(why([](Problem& p, GpuMachine&) { p.inputs[0].dtype = DType::f32; }).find("A is f32"),
            std::string::npos);
  EXPECT_NE(why([](Problem& p, GpuMachine&) {
              p.inputs[0].strides = {0, 0, 1};
            }).find("overlap"),
            std::string::npos);
  EXPECT_NE(why([](Problem& p, GpuMachine&) {
              p.inputs[0].strides = {50 * 80, 80, 2};
            }).find("neither stride of A is 1"),
            std::string::npos);
  EXPECT_NE(why([](Problem& p, GpuMachine&) {
              p.inputs[1].dims = {41, 20};
            }).find("extents"),
            std::string::npos);
}

}  // namespace
}  // namespace vitrail
