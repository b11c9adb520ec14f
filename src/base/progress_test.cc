// SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace vitrail {
namespace {
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Progress, ALogGetsPlainLines) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* const out = ::open_memstream(&text, &size);
  ASSERT_NE(out, nullptr);
  {
    const auto progress = make_progress(out);
    ProgressScope tuning(*progress, "tune", 3);
    for (int i = 0; i < 3; ++i) tuning.advance(1, "conv");
    progress->begin("verify", 0);  // ends the first
    progress->advance(5);
    progress->begin("write", kShare);
    progress->advance(kShare / 2);
  }
  std::fclose(out);
  EXPECT_STREQ(text, "tune: 3/3, 0 s\nverify: 5, 0 s\nwrite: 50 %, 0 s\n");
  std::free(text);
}

TEST(Log, GoesToTheSinkAboveTheLevel) {
  std::vector<std::string> seen;
  set_log_sink([&](LogLevel level, std::string_view message) {
    seen.push_back(fmt::format("{}|{}", name_of(level), message));
  });
  log_debug("hidden {}", 1);
  log_warning("node {}", "conv1");
  set_log_level(LogLevel::debug);
  log_debug("shown");
  set_log_level(LogLevel::off);
  log_warning("dropped");
  set_log_level(LogLevel::info);
  set_log_sink({});
  EXPECT_THAT(seen, ElementsAre("warning|node conv1", "debug|shown"));
}

TEST(Log, DefaultIsStandardError) {
  testing::internal::CaptureStderr();
  log_info("built");
  log_warning("slow");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "built\nwarning: slow\n");
}

TEST(Log, LevelsByName) {
  EXPECT_EQ(log_level_from_name("warning"), LogLevel::warning);
  try {
    log_level_from_name("loud\x1b[31m");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, Code::usage);
    EXPECT_THAT(error.what(), HasSubstr("loud\\x1b[31m"));
  }
}
}  // namespace
}  // namespace vitrail
