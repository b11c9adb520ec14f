// SPDX-License-Identifier: Apache-2.0
#include "compile/reference_cache.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "ir/text.h"

namespace vitrail {
namespace {
namespace fs = std::filesystem;

class References : public testing::Test {
 protected:
  void SetUp() override { fs::remove_all(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<Tensor> get(const ir::Graph& graph, float input, const std::string& how,
                          bool slow = true) {
    ReferenceCache cache(folder_);  // a build of its own
    return cache.get(graph, {filled({2, 3}, input)}, how, [&] {
      ++runs_;
      if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(350));
      return std::vector<Tensor>{filled({3}, input + 1), filled({}, 7), Tensor(DType::i64, {0, 2})};
    });
  }
  static Tensor filled(const Dims& dims, float value) {
    Tensor out(DType::f32, dims);
    for (int64_t i = 0; i < out.size(); ++i) out.mutable_data<float>()[i] = value;
    return out;
  }
  size_t files() const {
    const fs::path at = fs::path(folder_) / "references";
    return fs::exists(at) ? static_cast<size_t>(std::distance(fs::directory_iterator(at), {})) : 0;
  }

  const std::string folder_ = testing::TempDir() + "reference_cache";
  const ir::Graph relu_ =
                      ir::parse("graph \"g\" (x: f32[2,3]) -> (y) {\n  y: f32[2,3] = Relu(x)\n}\n"),
                  tanh_ =
                      ir::parse("graph \"g\" (x: f32[2,3]) -> (y) {\n  y: f32[2,3] = Tanh(x)\n}\n");
  int runs_ = 0;
};

TEST_F(References, AreFoundAgainByGraphInputsAndRounding) {
  const std::vector<Tensor> first = get(relu_, 1, "");
  const std::vector<Tensor> again = get(relu_, 1, "");
  EXPECT_EQ(runs_, 1);
  ASSERT_EQ(again.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(again[i].same(first[i])) << i;
  get(relu_, 2, ""), get(relu_, 1, "rounded"), get(tanh_, 1, "");
  EXPECT_EQ(runs_, 4);
  EXPECT_EQ(files(), 4u);
}

TEST_F(References, ThatAreQuickAreNotKept) {
  get(relu_, 1, "", false);
  EXPECT_EQ(files(), 0u);
}

TEST_F(References, AreComputedAgainWhenTheirFileIsDamaged) {
  get(relu_, 1, "");
  for (const auto& file : fs::directory_iterator(fs::path(folder_) / "references")) {
    std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(20).put('x');
  }
  EXPECT_EQ(get(relu_, 1, "")[0].data<float>()[0], 2);
  EXPECT_EQ(runs_, 2);
  for (const auto& file : fs::directory_iterator(fs::path(folder_) / "references"))
    fs::resize_file(file.path(), 5);
  get(relu_, 1, "");
  EXPECT_EQ(runs_, 3);
}

}  // namespace
}  // namespace vitrail
