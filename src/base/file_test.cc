// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/hash.h"

namespace vitrail {
namespace {
namespace fs = std::filesystem;
using testing::HasSubstr;

class File : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "vitrail-file-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string at(const std::string& name) const { return folder_ + "/" + name; }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(at(name), std::ios::binary) << text;
  }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {}));
  }
  std::string folder_;
};

template <typename Action>
void expect_error(Code code, const char* part, Action&& action) {
  try {
    action();
    FAIL() << "no error; expected one with " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code, code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(part));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

TEST_F(File, ReadsWhatWasWritten) {
  write_atomically(at("a"), "first");
  write_atomically(at("a"), "second");
  EXPECT_EQ(read_file(at("a"), 100), "second");
  EXPECT_EQ(as_text(MappedFile::open(at("a"))->bytes()), "second");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(File, RefusesWhatIsNoRegularFile) {
  put("empty", "");
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  const auto both = [&](Code code, const char* part, const std::string& path) {
    expect_error(code, part, [&] { read_file(path, 1 << 20); });
    expect_error(code, part, [&] { MappedFile::open(path); });
  };
  both(Code::io, "No such file", at("missing"));
  both(Code::bad_input, "a directory", folder_);
  both(Code::bad_input, "empty", at("empty"));
  both(Code::bad_input, "a pipe", at("pipe"));
  both(Code::bad_input, "a device", "/dev/zero");
  both(Code::io, "name too long", at(std::string(4096, 'x')));
  both(Code::usage, "NUL", std::string("a\0b", 3));
  both(Code::io, "\\x0a", at("line\nbreak\xff"));
}

TEST_F(File, RefusesAnUnreadableFile) {
  put("locked", "x");
  fs::permissions(at("locked"), fs::perms::none);
  if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
  expect_error(Code::io, "Permission denied", [&] { read_file(at("locked"), 10); });
}

TEST_F(File, LimitsTheSize) {
  put("a", "12345");
  EXPECT_EQ(read_file(at("a"), 5), "12345");
  expect_error(Code::bad_input, "5 bytes, more than the 4", [&] { read_file(at("a"), 4); });
}

TEST_F(File, OutputThatCannotBeWritten) {
  expect_error(Code::io, "No such file", [&] { write_atomically(at("no/such/a"), "x"); });
  expect_error(Code::usage, "a directory", [&] { write_atomically(folder_, "x"); });
  expect_error(Code::usage, "a device", [&] { write_atomically("/dev/null", "x"); });
  expect_error(Code::usage, "not a name", [&] { write_atomically("", "x"); });
  put("fixed", "old");
  fs::permissions(at("fixed"), fs::perms::owner_read);
  if (::geteuid() != 0)
    expect_error(Code::io, "Permission denied", [&] { write_atomically(at("fixed"), "x"); });
  EXPECT_EQ(entries(), 1u);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(File, AbandonedWriteLeavesTheOldFile) {
  put("a", "old");
  {
    AtomicFile file(at("a"));
    file.write("half of the new");
    EXPECT_EQ(entries(), 2u);
  }
  EXPECT_EQ(read_file(at("a"), 10), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(File, FullDiskIsAnErrorAndLeavesNothing) {
  put("a", "old");
  // A limit on the file size makes write() fail half way, as a full disk does.
  struct rlimit before, tight;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  tight = before;
  tight.rlim_cur = 1000;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  expect_error(Code::io, "File too large",
               [&] { write_atomically(at("a"), std::string(5000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(read_file(at("a"), 10), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(File, KilledWriterLeavesTheOldFileAndItsRestIsRemoved) {
  put("a", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(at("a"));
    file.write("half");
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(read_file(at("a"), 10), "old");
  ASSERT_EQ(entries(), 2u);
  AtomicFile living(at("a"));  // its temporary has a lock and must survive the clean-up below
  for (const auto& entry : fs::directory_iterator(folder_))
    fs::last_write_time(entry, fs::file_time_type::clock::now() - std::chrono::hours(1));
  write_atomically(at("a"), "new");
  EXPECT_EQ(entries(), 2u);
  living.write("newest");
  living.commit();
  EXPECT_EQ(read_file(at("a"), 10), "newest");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(File, KeepsPermissionsAndFollowsALink) {
  put("real", "old");
  fs::permissions(at("real"), fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("real", at("link"));
  write_atomically(at("link"), "new");
  EXPECT_TRUE(fs::is_symlink(at("link")));
  EXPECT_EQ(read_file(at("real"), 10), "new");
  EXPECT_EQ(fs::status(at("real")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(File, AlignsAndOverwrites) {
  AtomicFile file(at("a"));
  file.write("header");
  file.align(16);
  file.align(16);
  EXPECT_EQ(file.size(), 16u);
  file.write("body");
  file.overwrite(0, as_bytes("HEAD"));
  EXPECT_THROW(file.overwrite(18, as_bytes("long")), Error);
  file.commit();
  EXPECT_EQ(read_file(at("a"), 100), std::string("HEADer\0\0\0\0\0\0\0\0\0\0body", 20));
}

TEST_F(File, OutputMustNotBeTheInput) {
  put("a", "x");
  fs::create_symlink("a", at("b"));
  require_distinct(at("a"), at("c"));
  expect_error(Code::usage, "is the input", [&] { require_distinct(at("a"), at("b")); });
  expect_error(Code::usage, "is the input", [&] { require_distinct(at("a"), at("./a")); });
}

TEST_F(File, ExternalDataStaysBeneathTheModel) {
  fs::create_directories(at("model/data"));
  put("model/data/w.bin", "weights");
  put("secret", "secret");
  const std::string model = at("model");
  EXPECT_EQ(as_text(MappedFile::open_beneath(model, "data/w.bin")->bytes()), "weights");
  EXPECT_EQ(as_text(MappedFile::open_beneath(model, "./data//w.bin")->bytes()), "weights");
  const auto refused = [&](Code code, const char* part, const std::string& name) {
    expect_error(code, part, [&] { MappedFile::open_beneath(model, name); });
  };
  refused(Code::bad_input, "leaves", "../secret");
  refused(Code::bad_input, "leaves", "data/../../secret");
  refused(Code::bad_input, "leaves", "data/");
  refused(Code::bad_input, "relative", at("secret"));
  refused(Code::bad_input, "relative", "");
  refused(Code::bad_input, "relative", std::string("data/w.bin\0.txt", 15));
  refused(Code::bad_input, "a directory", "data");
  refused(Code::io, "No such file", "data/missing");
  fs::create_symlink("../secret", at("model/link"));
  refused(Code::bad_input, "symbolic link", "link");
  fs::create_directory_symlink("..", at("model/up"));
  refused(Code::bad_input, "symbolic link", "up/secret");
  fs::create_hard_link(at("secret"), at("model/hard"));
  refused(Code::bad_input, "hard links", "hard");
}

TEST(Hash, MatchesThePublishedValues) {
  // Of the empty input, seed 0, as `xxhsum -H3` and `-H2` print them.
  EXPECT_EQ(xxh3_64({}), 0x2D06800538D394C2u);
  EXPECT_EQ(xxh3_128({}).str(), "99aa06d3014798d86001c324468d497f");
}
TEST(Hash, PiecesHashLikeTheWhole) {
  const std::string text(5000, 'v');
  Hasher pieces;
  pieces.update(as_bytes(std::string_view(text).substr(0, 1234)));
  pieces.update(as_bytes(std::string_view(text).substr(1234)));
  EXPECT_EQ(pieces.digest(), xxh3_128(as_bytes(text)));
  EXPECT_NE(xxh3_128(as_bytes(text)), xxh3_128(as_bytes(text + "v")));
}
}  // namespace
}  // namespace vitrail
