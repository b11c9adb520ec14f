// SPDX-License-Identifier: Apache-2.0
// Plans whose checksums are right and whose contents are not: refused with an Error, or run within
// their own memory. The sanitizers watch.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/hash.h"
#include "plan/plan_file.h"
#include "runtime/executor.h"
#include "runtime/toy.h"

namespace vitrail {
namespace {

// Every kind of step but the loop, whose trip count a flipped byte could make endless.
Plan victim() {
  toy::Maker m;
  const Expr n = m.symbol("N", 1, 2, 8), d = m.data_symbol("D", 4);
  const int x = m.input("x", DType::f32, {n, 4}), limit = m.input("limit", DType::f32, {});
  const int y = m.output("y", DType::f32, {n, 6}), r = m.output("r", DType::f32, {d});
  const int from = m.constant("from", Tensor::scalar(0.0f)),
            by = m.constant("by", Tensor::scalar(1.0f));
  const int w = m.constant("w", Tensor::of<float>({4, 3}, std::vector<float>(12, 0.5f)));
  const int t = m.temporary("t", DType::f32, {n, 3}), range = m.temporary("range", DType::f32, {d});
  const int flag = m.temporary("flag", DType::boolean, {}),
            s = m.temporary("s", DType::f32, {n, 3});
  const int left = m.view("left", y, {n, 3}, 0, {6, 1}),
            right = m.view("right", y, {n, 3}, 3, {6, 1});
  Step host = toy::Maker::host("Range", {from, limit, by}, {range});
  host.data_extents = {{.output = 0, .axis = 0, .symbol = "D"}};
  Step branch{.kind = Step::Kind::branch, .name = "if", .inputs = {flag}, .outputs = {right}};
  branch.blocks = {{m.scale("then", t, s, 2, 0)}, {toy::Maker::host("Neg", {t}, {s})}};
  branch.block_outputs = {{s}, {s}};
  m.plan.steps = {m.matmul("fc", x, w, t),
                  m.scale("copy", t, left, 1, 0),
                  toy::Maker::host("Greater", {limit, by}, {flag}),
                  branch,
                  host,
                  m.scale("out", range, r, 1, 1)};
  m.plan.steps[1].choices = {{{{"N", {1, 4}}}, "toy_scale_baseline", {}, 0}};
  for (PlanBuffer& b : m.plan.buffers)
    if (b.kind == PlanBuffer::Kind::arena) b.last = 7;
  return m.plan;
}

uint64_t word(const std::string& bytes, size_t at) {
  uint64_t out;
  std::memcpy(&out, bytes.data() + at, 8);
  return out;
}
void set_word(std::string& bytes, size_t at, uint64_t value) {
  std::memcpy(bytes.data() + at, &value, 8);
}

// Makes every checksum right again, as an attacker would. Layout: see plan_file.h.
void reseal(std::string& file) {
  constexpr size_t kHeader = 128, kEntry = 32;
  uint32_t sections;
  std::memcpy(&sections, file.data() + 64, 4);
  if (sections < 4 || kHeader + sections * kEntry > file.size()) return;
  const auto part = [&](size_t at, size_t size) { return as_bytes(file).subspan(at, size); };
  Hasher content, digests;
  for (size_t i = 0; i < sections; ++i) {
    const size_t entry = kHeader + i * kEntry;
    const uint64_t offset = word(file, entry + 8), size = word(file, entry + 16);
    if (offset > file.size() || size > file.size() - offset) continue;
    if (i + 1 < sections) set_word(file, entry + 24, xxh3_64(part(offset, size)));
    if (i + 3 < sections) content.update(part(offset, size));
    if (i + 3 == sections)
      for (size_t blob = offset; blob + 32 <= offset + size; blob += 32) {
        const uint64_t at = word(file, blob + 16), bytes = word(file, blob + 24);
        if (at <= file.size() && bytes <= file.size() - at) {
          const Digest digest = xxh3_128(part(at, bytes));
          std::memcpy(file.data() + blob, &digest, 16);
        }
        digests.update(part(blob, 16));
        set_word(file, entry + 24, xxh3_64(part(offset, size)));
      }
  }
  const Digest weights = digests.digest();
  content.update({reinterpret_cast<const std::byte*>(&weights), 16});
  const Digest all = content.digest();
  std::memcpy(file.data() + 48, &all, 16);
  set_word(file, 72, xxh3_64(part(kHeader, sections * kEntry)));
  set_word(file, 120, xxh3_64(part(0, 120)));
}

class HostilePlans : public testing::Test {
 protected:
  HostilePlans() {
    save_plan(path_, victim());
    good_ = read_file(path_, 1 << 20);
  }
  ~HostilePlans() override { std::filesystem::remove(path_); }

  enum Outcome { refused_at_load, refused_later, ran };
  // Loads and, when that goes well, runs. Anything but an Error fails the test (or the sanitizer
  // does).
  Outcome attempt(const std::string& content) {
    Tensor memory(DType::u8, {static_cast<int64_t>(content.size())});
    std::memcpy(memory.mutable_raw(), content.data(), content.size());
    const auto owner = std::make_shared<const Tensor>(memory);
    std::shared_ptr<const Plan> plan;
    try {
      plan =
          read_plan({static_cast<const std::byte*>(owner->raw()), content.size()}, owner, "memory")
              .targets.at(0);
    } catch (const Error&) {
      return refused_at_load;
    }
    try {
      Executor e(plan, {.threads = 1, .kernels = toy::kernels()});
      const float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, limit = 2;
      const void* const data[] = {x, &limit};
      const Dims dims[] = {{2, 4}, {}};
      for (size_t i = 0; i < e.plan().inputs.size(); ++i)
        e.set_input(i, DType::f32, dims[i % 2], data[i % 2]);
      e.run();
    } catch (const Error&) {
      return refused_later;
    }
    return ran;
  }
  const std::string path_ = testing::TempDir() + "hostile.vitrail";
  std::string good_;
};

TEST_F(HostilePlans, TheUntouchedOneRuns) {
  std::string same = good_;
  reseal(same);
  EXPECT_EQ(same, good_);
  EXPECT_EQ(attempt(good_), ran);
}

TEST_F(HostilePlans, EveryByteWithChecksumsMadeRight) {
  int outcomes[3] = {};
  for (size_t at = 0; at < good_.size(); ++at)
    for (const uint8_t value : {0x00, 0x01, 0x7F, 0xFF}) {
      std::string bad = good_;
      if (static_cast<uint8_t>(bad[at]) == value) continue;
      bad[at] = static_cast<char>(value);
      reseal(bad);
      ++outcomes[attempt(bad)];
    }
  EXPECT_GT(outcomes[refused_at_load], 0);
  EXPECT_GT(outcomes[refused_later], 0);  // an unknown kernel or op, inputs that no longer fit
}

TEST_F(HostilePlans, SectionsThatOverlapOrLeaveTheFile) {
  for (size_t entry = 0; entry < 4; ++entry)
    for (const size_t field : {8, 16})  // offset, size
      for (const uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{128}, uint64_t{good_.size()},
                                   uint64_t{1} << 63, ~uint64_t{0} - 63}) {
        std::string bad = good_;
        set_word(bad, 128 + 32 * entry + field, value);
        if (bad == good_) continue;
        reseal(bad);
        EXPECT_EQ(attempt(bad), refused_at_load) << entry << " " << field << " " << value;
      }
}

TEST_F(HostilePlans, WeightsThatOverlapOrLeaveTheFile) {
  const size_t index = word(good_, 128 + 32 * 1 + 8);
  for (size_t blob = 0; blob < 3; ++blob)
    for (const size_t field : {16, 24})
      for (const uint64_t value : {uint64_t{0}, uint64_t{2}, uint64_t{4096}, ~uint64_t{0} - 63}) {
        std::string bad = good_;
        set_word(bad, index + 32 * blob + field, value);
        reseal(bad);
        EXPECT_EQ(attempt(bad), refused_at_load) << blob << " " << field << " " << value;
      }
}

TEST_F(HostilePlans, UnknownKernelsAndOpsAreNamed) {
  const auto message = [](void (*edit)(Plan&)) -> std::string {
    Plan plan = victim();
    edit(plan);
    try {
      Executor e(std::make_shared<const Plan>(plan), {.threads = 1, .kernels = toy::kernels()});
    } catch (const Error& error) {
      EXPECT_EQ(error.code, Code::wrong_target);
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message([](Plan& p) {
              p.steps[1].choices[0].kernel = "toy_scale_avx9";
            }).find("step 'copy': the plan wants the kernel 'toy_scale_avx9'"),
            std::string::npos);
  EXPECT_NE(message([](Plan& p) {
              p.steps[2].op = "Gr\x1b[0m";
            }).find("the plan wants the op 'Gr\\x1b[0m'"),
            std::string::npos);
}

// What the problem says of extents is what a kernel goes by, whatever the value says.
TEST_F(HostilePlans, OperandsBeyondTheirBuffers) {
  const auto refused = [](void (*edit)(Plan&)) {
    Plan plan = victim();
    edit(plan);
    const auto run = [&] {
      Executor e(std::make_shared<const Plan>(plan), {.threads = 1, .kernels = toy::kernels()});
      const float x[8] = {}, limit = 2;
      e.set_input(0, DType::f32, Dims{2, 4}, x);
      e.set_input(1, DType::f32, {}, &limit);
      e.run();
    };
    EXPECT_THROW(run(), Error);
  };
  refused([](Plan& p) {
    for (Operand* o : {&p.steps[1].problem.inputs[0], &p.steps[1].problem.outputs[0]})
      o->dims = {2, 300};
  });
  refused([](Plan& p) { p.steps[1].problem.outputs[0].strides = {-6, 1}; });
  refused([](Plan& p) {
    for (Operand* o : {&p.steps[0].problem.inputs[0], &p.steps[0].problem.inputs[1]})
      o->dims[o == &p.steps[0].problem.inputs[0] ? 1 : 0] = 5;
  });
  refused([](Plan& p) {
    p.buffers[p.values[7].buffer].bytes = Expr::symbol("N") * Expr(int64_t{1} << 60);
  });
}

}  // namespace
}  // namespace vitrail
