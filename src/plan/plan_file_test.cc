// SPDX-License-Identifier: Apache-2.0
#include "plan/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "plan/tables.h"
#include "plan/validate.h"

namespace vitrail {
namespace {
using testing::HasSubstr;

class PlanFileTest : public testing::Test {
 protected:
  ~PlanFileTest() override { std::filesystem::remove(path_); }
  std::string bytes() const { return read_file(path_, size_t{1} << 30); }
  void write(const std::string& content) const {
    std::ofstream(path_, std::ios::binary) << content;
  }
  // As if `content` were the file, without a file system that takes its time.
  static PlanFile read(const std::string& content) {
    Tensor memory(DType::u8, {static_cast<int64_t>(content.size())});
    std::memcpy(memory.mutable_raw(), content.data(), content.size());
    const auto owner = std::make_shared<const Tensor>(memory);
    return read_plan({static_cast<const std::byte*>(owner->raw()), content.size()}, owner,
                     "memory");
  }
  // The message of the error that loading gives; the code goes to code_.
  std::string refusal() {
    try {
      load_plan_file(path_);
    } catch (const Error& error) {
      code_ = error.code;
      return error.what();
    }
    return "loaded";
  }
  const std::string path_ = testing::TempDir() + "plan_file_test_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name() +
                            ".vitrail";
  Code code_ = Code::internal;
};

// One of everything a plan can hold.
Plan full_plan() {
  Plan p;
  p.model_name =
      "m\xc3\xb6"
      "del";
  p.model_hash = "abc";
  p.tuned_for = "a processor, avx512";
  const Expr n = Expr::symbol("N"), d = Expr::symbol("det.0");
  p.symbols = {
      {.name = "N", .min = 1, .opt = 4, .max = 16, .bound = 0},
      {.name = "K", .kind = PlanSymbol::Kind::bind, .min = 1, .opt = 2, .max = 3, .bound = 0},
      {.name = "det.0", .kind = PlanSymbol::Kind::data, .bound = min(8 * n, Expr(100))}};
  p.guards = {{floordiv(n + 3, 4), ceildiv(n, 4)}};
  p.buffers = {{.kind = PlanBuffer::Kind::input, .bytes = 12 * n, .io = 0},
               {.kind = PlanBuffer::Kind::arena, .bytes = 3200, .first = 0, .last = 2},
               {.kind = PlanBuffer::Kind::constant, .bytes = 12, .constant = 0},
               {.kind = PlanBuffer::Kind::output, .bytes = 12 * n, .io = 0},
               {.kind = PlanBuffer::Kind::arena, .bytes = 1, .first = 0, .last = 0}};
  p.values = {{"x", DType::f32, {n, 3}, 0, 0, {3, 1}},
              {"d", DType::f32, {d}, 1, 2, {1}},
              {"w", DType::f32, {3}, 2, 0, {1}},
              {"y", DType::f32, {n, 3}, 3, 0, {3, 1}},
              {"c", DType::boolean, {}, 4, 0, {}}};
  p.inputs = {{"x", 0}};
  p.outputs = {{"y", 3}};
  p.constants = {Tensor::of<float>({3}, {1, 2, 3})};
  Step host{.name = "det", .sources = {"NonZero_7"}, .inputs = {0, -1}, .outputs = {1, 4}};
  host.kind = Step::Kind::host;
  host.op = "NonZero", host.domain = "some.domain";
  host.attrs = Attrs{{"i", int64_t{-3}},
                     {"f", 0.5},
                     {"t", std::string("text")},
                     {"is", std::vector<int64_t>{1, -2}},
                     {"fs", std::vector<double>{0.25}},
                     {"ts", std::vector<std::string>{"a", "b"}},
                     {"w", Tensor::of<int64_t>({2}, {5, 6})}};
  host.data_extents = {{.output = 0, .axis = 0, .symbol = "det.0"}};
  Step launch{.name = "add", .inputs = {0, 2}, .outputs = {3}};
  launch.problem.family = "pointwise";
  launch.problem.inputs = {{DType::f32, {n, 3}, {3, 1}}, {DType::f32, {n, 3}, {0, 1}, true}};
  launch.problem.outputs = {{DType::f32, {n, 3}, {3, 1}}};
  launch.problem.ints = {{"pad", -1}};
  launch.problem.floats = {{"eps", 1e-5}};
  launch.problem.epilogue = {2, {{Pointwise::add, 0, 1, 0}, {Pointwise::swish, 2, 0, 1.702f}}, {3}};
  launch.problem.epilogue_inputs = 1;
  launch.problem.fixed_order = true;
  launch.choices = {{{{"N", {1, 4}}}, "pointwise_f32_avx2", {{"rows", 4}}, 12.5},
                    {{}, "pointwise_f32_baseline", {}, 0}};
  KernelChoice called{.when = {{"N", {5, 8}}}, .kernel = "gemm_cublaslt", .tactic = {{"algo", 66}}};
  called.launches.emplace_back().library = {
      "cublasLt", 130000, "matmul", {{"m", 3 * n}, {"lda", 3}, {"bias", -1}}};
  called.workspace_bytes = 12 * n;
  launch.choices.insert(launch.choices.begin() + 1, called);
  Step branch{.name = "if", .inputs = {4}, .outputs = {3}};
  branch.kind = Step::Kind::branch;
  branch.blocks = {{launch}, {}};
  branch.block_outputs = {{3}, {0}};
  branch.block_guards = {{}, {{n, 2}}};
  p.steps = {host, branch};
  p.metadata = {{"task", "classify"}, {"labels", "a\nb"}};
  p.source_graph = "graph \"m\" () -> () {}";
  p.source_constants = {Tensor::of<float>({3}, {1, 2, 3}), Tensor::of<double>({0}, {})};
  p.account = {"1 of 1 fused"};
  p.verification = {{"y", "opt", 1e-6, 1e-7, 1e-8, 1, 2, 3, 0.5, 120, false}};
  return p;
}

std::vector<std::byte> tables_of(const Plan& plan) {
  return encode_target(plan, [](Bytes b) { return static_cast<uint32_t>(b.size()); });
}

TEST_F(PlanFileTest, EverythingComesBack) {
  const Plan plan = full_plan();
  save_plan(path_, plan, "2026-01-01");
  const PlanFile file = load_plan_file(path_);
  const Plan& back = *file.target("cpu");
  EXPECT_EQ(tables_of(back), tables_of(plan));
  EXPECT_EQ(file.written, "2026-01-01");
  ASSERT_EQ(back.constants.size(), 1u);
  EXPECT_TRUE(back.constants[0].same(plan.constants[0]));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(back.constants[0].raw()) % 64, 0u);
  EXPECT_EQ(back.constants[0].raw(),
            back.source_constants[0].raw());  // equal contents are stored once
  EXPECT_TRUE(back.steps[0].attrs == plan.steps[0].attrs);
  EXPECT_EQ(back.steps[1].blocks[0][0].problem, plan.steps[1].blocks[0][0].problem);
  EXPECT_EQ(back.steps[1].block_guards, plan.steps[1].block_guards);
  EXPECT_EQ(back.steps[1].blocks[0][0].choices[0].microseconds, 12.5);
  const KernelChoice& called = back.steps[1].blocks[0][0].choices[1];
  EXPECT_EQ(called.launches, plan.steps[1].blocks[0][0].choices[1].launches);
  EXPECT_EQ(called.workspace_bytes, plan.steps[1].blocks[0][0].choices[1].workspace_bytes);
  EXPECT_EQ(back.symbols[2].bound, plan.symbols[2].bound);
  EXPECT_EQ(back.metadata, plan.metadata);
  EXPECT_EQ(back.source_graph, plan.source_graph);
  EXPECT_EQ(back.account, plan.account);
  ASSERT_EQ(back.verification.size(), 1u);
  EXPECT_EQ(back.verification[0].sqnr_db, 120);
  EXPECT_FALSE(back.verification[0].ok);
}

TEST_F(PlanFileTest, BytesAreAFunctionOfThePlan) {
  Plan plan = full_plan();
  save_plan(path_, plan, "monday");
  const std::string first = bytes();
  const Digest content = load_plan_file(path_).content;
  save_plan(path_, full_plan(), "monday");
  EXPECT_EQ(bytes(), first);
  // Dates and timings do not count; weights and tactics do.
  plan.account = {"another day"};
  plan.steps[1].blocks[0][0].choices[0].microseconds = 99;
  save_plan(path_, plan, "some tuesday");
  EXPECT_EQ(load_plan_file(path_).content, content);
  plan.steps[1].blocks[0][0].choices[0].tactic["rows"] = 8;
  save_plan(path_, plan, "monday");
  EXPECT_NE(load_plan_file(path_).content, content);
  plan = full_plan();
  plan.constants[0] = Tensor::of<float>({3}, {1, 2, 4});
  save_plan(path_, plan, "monday");
  EXPECT_NE(load_plan_file(path_).content, content);
}

TEST_F(PlanFileTest, EveryFlippedByteIsRefusedOrHarmless) {
  const Plan plan = full_plan();
  save_plan(path_, plan, "now");
  const std::string good = bytes();
  ASSERT_LT(good.size(), 65536u);
  const std::vector<std::byte> tables = tables_of(plan);
  int refused = 0;
  for (size_t i = 0; i < good.size(); ++i)
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      try {
        const PlanFile file = read(bad);
        EXPECT_EQ(tables_of(*file.targets.at(0)), tables) << "byte " << i;
        EXPECT_TRUE(file.targets[0]->constants.at(0).same(plan.constants[0])) << "byte " << i;
      } catch (const Error& error) {
        EXPECT_TRUE(error.code == Code::bad_input || error.code == Code::wrong_target)
            << error.what();
        ++refused;
      }
    }
  EXPECT_EQ(refused, static_cast<int>(3 * good.size()));
}

TEST_F(PlanFileTest, EveryTruncationIsRefused) {
  save_plan(path_, full_plan());
  const std::string good = bytes();
  for (size_t size = 1; size < good.size(); ++size) {
    try {
      read(good.substr(0, size));
      ADD_FAILURE() << size << " bytes were enough";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::bad_input);
    }
  }
  write(good + '\0');
  EXPECT_THAT(refusal(), HasSubstr("cut off or added to"));
}

TEST_F(PlanFileTest, WeightsCanBeCheckedLater) {
  save_plan(path_, full_plan());
  std::string bad = bytes();
  char& weight = bad[load_plan_file(path_).blobs.at(0).offset];
  weight = static_cast<char>(weight ^ 1);
  write(bad);
  EXPECT_THAT(refusal(), HasSubstr("is damaged (checksum)"));
  const PlanFile file = load_plan_file(path_, WeightCheck::on_request);
  EXPECT_THROW(file.verify_weights(), Error);
}

TEST_F(PlanFileTest, OtherFilesAndVersionsAreNamed) {
  write("ptrt\x01\x02 a serialized engine");
  EXPECT_THAT(refusal(), HasSubstr("TensorRT engine"));
  EXPECT_EQ(code_, Code::unsupported);
  write("\x08\x07 an ONNX model, perhaps");
  EXPECT_THAT(refusal(), HasSubstr("not a Vitrail plan"));
  EXPECT_EQ(code_, Code::bad_input);

  save_plan(path_, full_plan());
  const std::string good = bytes();
  const auto with_header = [&](size_t offset, const std::string& content) {
    std::string changed = good;
    changed.replace(offset, content.size(), content);
    const uint64_t hash = xxh3_64(as_bytes(changed).first(120));
    std::memcpy(changed.data() + 120, &hash, 8);
    write(changed);
  };
  with_header(16, std::string("9.8.7\0\0", 7));
  EXPECT_THAT(refusal(), HasSubstr("built by vitrail 9.8.7 (plan format 1)"));
  EXPECT_EQ(code_, Code::wrong_target);
  with_header(12, std::string("\x02", 1));
  EXPECT_THAT(refusal(), HasSubstr("(plan format 2)"));
  EXPECT_EQ(code_, Code::wrong_target);
  with_header(8, std::string("\x01\x02\x03\x04", 4));
  EXPECT_THAT(refusal(), HasSubstr("other byte order"));
  EXPECT_EQ(code_, Code::wrong_target);
}

// Two launches in the branch that one launch can do.
Plan joint_plan() {
  Plan p = full_plan();
  Block& block = p.steps[1].blocks[0];
  p.modules = {Tensor::of<uint8_t>({4}, {1, 2, 3, 4})};
  block.push_back(block[0]);
  block[0].together = 2;
  JointLaunch joint{{0, 2}, {.when = {}, .kernel = "joint", .tactic = {}}};
  joint.code.module = 0;
  joint.code.launches.push_back(
      {.entry = "joint", .grid = {2 * Expr::symbol("N"), 1, 1}, .threads = 64});
  joint.code.full_edge = true;
  block[0].choices[1].division = Division::shared;
  block[0].joints = {joint};
  return p;
}

TEST_F(PlanFileTest, JointLaunchesComeBack) {
  const Plan plan = joint_plan();
  save_plan(path_, plan, "2026-01-01");
  const PlanFile file = load_plan_file(path_);
  const Step& head = file.target("cpu")->steps[1].blocks[0][0];
  EXPECT_EQ(head.together, 2);
  ASSERT_EQ(head.joints.size(), 1u);
  EXPECT_EQ(head.joints[0].choices, (std::vector<int>{0, 2}));
  EXPECT_EQ(head.joints[0].code.launches, plan.steps[1].blocks[0][0].joints[0].code.launches);
  EXPECT_TRUE(head.joints[0].code.full_edge);
  EXPECT_EQ(head.joints[0].code.division, Division::by_size);
  EXPECT_FALSE(head.choices[1].full_edge);
  EXPECT_EQ(head.choices[1].division, Division::shared);
}

TEST_F(PlanFileTest, DivisionsOfMemoryAreThoseThatAreKnown) {
  Plan plan = joint_plan();
  plan.steps[1].blocks[0][0].choices[1].division = static_cast<Division>(kDivisionCount);
  save_plan(path_, plan);
  EXPECT_THAT(refusal(), HasSubstr("unknown division of memory 2"));
  EXPECT_EQ(code_, Code::bad_input);
}

TEST(Validate, BrokenJointLaunchesAreRefused) {
  EXPECT_NO_THROW(validate(joint_plan()));
  const auto refused = [](const char* expected, void (*edit)(Block&)) {
    Plan plan = joint_plan();
    edit(plan.steps[1].blocks[0]);
    try {
      validate(plan);
      ADD_FAILURE() << "accepted: " << expected;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::bad_input);
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
  };
  refused("3 steps together of 2", [](Block& b) { b[0].together = 3; });
  refused("-1 steps together", [](Block& b) { b[0].together = -1; });
  refused("1 steps together", [](Block& b) { b[0].together = 1; });
  refused("step 1 of 2 together is no launch", [](Block& b) { b[1].kind = Step::Kind::host; });
  refused("choice 9 of 3", [](Block& b) { b[0].joints[0].choices[1] = 9; });
  refused("a joint launch of 1 steps for 2", [](Block& b) { b[0].joints[0].choices = {0}; });
  refused("module 5 of 1", [](Block& b) { b[0].joints[0].code.module = 5; });
  refused("says how to launch", [](Block& b) { b[0].choices[0].full_edge = true; });
  refused("says how to launch", [](Block& b) { b[0].choices[0].division = Division::shared; });
}

// Each edit breaks one rule; what is written would come from a bug of ours, what is read from
// anyone.
LibraryCall& call_of(Plan& plan) {
  return *plan.steps[1].blocks[0][0].choices[1].launches[0].library;
}

TEST(Validate, BrokenPlansAreRefused) {
  EXPECT_NO_THROW(validate(full_plan()));
  Plan sorted = full_plan();  // a bound may use an input symbol declared after it
  std::swap(sorted.symbols[0], sorted.symbols[2]);
  EXPECT_NO_THROW(validate(sorted));
  const auto refused = [](const char* expected, void (*edit)(Plan&)) {
    Plan plan = full_plan();
    edit(plan);
    try {
      validate(plan);
      ADD_FAILURE() << "accepted: " << expected;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::bad_input);
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
  };
  refused("undeclared symbol 'Q'", [](Plan& p) { p.values[0].dims[0] = Expr::symbol("Q"); });
  refused("undeclared symbol 'late'", [](Plan& p) {
    p.symbols[2].bound = Expr::symbol("late");
    p.symbols.push_back({.name = "late", .kind = PlanSymbol::Kind::data, .bound = 1});
  });
  refused("unknown library 'libm", [](Plan& p) { call_of(p).library = "libm\x1b"; });
  refused("undeclared symbol 'Q'", [](Plan& p) { call_of(p).numbers["m"] = Expr::symbol("Q"); });
  refused("65 numbers", [](Plan& p) {
    for (int i = 0; call_of(p).numbers.size() < 65; ++i) call_of(p).numbers[std::to_string(i)] = i;
  });
  refused("1 launches and module 0",
          [](Plan& p) { p.steps[1].blocks[0][0].choices[1].module = 0; });
  refused("1 launches and module -1",
          [](Plan& p) { p.steps[1].blocks[0][0].choices[1].launches[0].library.reset(); });
  refused("declared twice", [](Plan& p) { p.symbols[1].name = "N"; });
  refused("no name for a symbol", [](Plan& p) { p.symbols[1].name = "N+1"; });
  refused("is not 0 <= min", [](Plan& p) { p.symbols[0].min = 5; });
  refused("reaches from element 0 to 3 of buffer 2, which has 3",
          [](Plan& p) { p.values[2].dims = {4}; });
  refused("reaches from element -1", [](Plan& p) { p.values[1].offset = -1; });
  refused("negative extent", [](Plan& p) { p.values[1].dims = {-4}; });
  refused("overflows", [](Plan& p) {
    p.values[1].dims = {int64_t{1} << 40}, p.values[1].strides = {int64_t{1} << 40};
  });
  refused("buffer 9 of 5", [](Plan& p) { p.values[1].buffer = 9; });
  refused("constant 1 of 1", [](Plan& p) { p.buffers[2].constant = 1; });
  refused("larger than its constant", [](Plan& p) { p.buffers[2].bytes = 16; });
  refused("cannot be stored", [](Plan& p) { p.values[1].dtype = DType::string; });
  refused("lives from step 0 to 3", [](Plan& p) { p.buffers[1].last = 3; });
  refused("value 7 of 5", [](Plan& p) { p.inputs[0].value = 7; });
  refused("of another kind", [](Plan& p) { p.inputs[0].value = 1; });
  refused("dense row-major", [](Plan& p) { p.values[0].strides = {1, 16}; });
  refused("which is an input", [](Plan& p) { p.steps[0].outputs[0] = 0; });
  refused("which is a constant", [](Plan& p) { p.steps[1].blocks[0][0].outputs[0] = 2; });
  refused("value 5 of 5", [](Plan& p) { p.steps[0].inputs[0] = 5; });
  refused("is no data symbol", [](Plan& p) { p.steps[0].data_extents[0].symbol = "N"; });
  refused("axis 1 of 1", [](Plan& p) { p.steps[0].data_extents[0].axis = 1; });
  refused("guards of 1 blocks", [](Plan& p) { p.steps[1].block_guards.pop_back(); });
  refused("the undeclared symbol 'Z'", [](Plan& p) {
    p.steps[1].block_guards[0] = {{Expr::symbol("Z"), 1}};
  });
  refused("needs one boolean input", [](Plan& p) { p.steps[1].inputs[0] = 0; });
  refused("2 block outputs for 1 outputs",
          [](Plan& p) { p.steps[1].block_outputs[0].push_back(3); });
  refused("must be a constant",
          [](Plan& p) { p.steps[1].blocks[0][0].problem.inputs[0].constant = true; });
  refused("the problem says f64",
          [](Plan& p) { p.steps[1].blocks[0][0].problem.outputs[0].dtype = DType::f64; });
  refused("for a problem of", [](Plan& p) { p.steps[1].blocks[0][0].inputs.pop_back(); });
  refused("reads a register",
          [](Plan& p) { p.steps[1].blocks[0][0].problem.epilogue.code[0].b = 7; });
  refused("pointwise result",
          [](Plan& p) { p.steps[1].blocks[0][0].problem.epilogue.results[0] = -1; });
  refused("a choice depends on", [](Plan& p) {
    p.steps[1].blocks[0][0].choices[0].when["Z"] = {0, 1};
  });
  refused("bytes other than 0 and 1", [](Plan& p) {
    Tensor t(DType::boolean, {1});
    *static_cast<uint8_t*>(t.mutable_raw()) = 2;
    p.constants.push_back(t);
  });
  refused("nested more than", [](Plan& p) {
    for (int i = 0; i < 20; ++i) {
      Step outer = p.steps[1];
      outer.blocks[0] = {p.steps[1]};
      p.steps[1] = outer;
    }
  });
}

}  // namespace
}  // namespace vitrail
