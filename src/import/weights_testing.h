// SPDX-License-Identifier: Apache-2.0
// Writers of weight files, good and hostile, for the tests.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/error.h"
#include "import/bytes.h"

namespace vitrail {

template <typename Action>
void expect_error(Code code, const std::string& part, Action&& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with '" << part << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, code) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
}

/// Text in memory of its own size, so that ASan sees a read past its end.
inline SharedBytes shared(const std::string& text) {
  auto memory = std::make_shared<std::vector<std::byte>>(text.size());
  std::transform(text.begin(), text.end(), memory->begin(), [](char c) { return std::byte(c); });
  return {Bytes(*memory), memory};
}

template <typename T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
template <typename T>
std::string le(T value) {
  return raw(std::vector<T>{value});
}

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "vitrail-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::string put(const std::string& name, const std::string& content) const {
    std::ofstream(at(name), std::ios::binary) << content;
    return at(name);
  }
  std::string at(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct ZipEntry {
  std::string name, data;
  bool deflate = false;
  uint16_t flags = 0, method = 0;
  std::optional<uint32_t> crc, declared_size;
  std::optional<uint32_t> offset;  ///< in the directory, instead of the true one
  std::string local_name;          ///< instead of `name`
};

inline std::string deflated(const std::string& data) {
  std::string out(::compressBound(data.size()) + 64, '\0');
  z_stream stream{};
  ::deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

inline std::string zip_of(const std::vector<ZipEntry>& entries) {
  std::string out, directory;
  for (const ZipEntry& e : entries) {
    const std::string packed = e.deflate ? deflated(e.data) : e.data;
    const std::string& local = e.local_name.empty() ? e.name : e.local_name;
    const auto crc = e.crc.value_or(static_cast<uint32_t>(::crc32(
        0, reinterpret_cast<const Bytef*>(e.data.data()), static_cast<uInt>(e.data.size()))));
    const uint16_t method = e.deflate ? 8 : e.method;
    const auto size = e.declared_size.value_or(static_cast<uint32_t>(e.data.size()));
    const std::string fields = le<uint16_t>(20) + le(e.flags) + le(method) + le<uint32_t>(0) +
                               le(crc) + le(static_cast<uint32_t>(packed.size())) + le(size);
    directory += "PK\1\2" + le<uint16_t>(20) + fields + le(static_cast<uint16_t>(e.name.size())) +
                 std::string(12, '\0') + le(e.offset.value_or(static_cast<uint32_t>(out.size()))) +
                 e.name;
    out += "PK\3\4" + fields + le(static_cast<uint16_t>(local.size())) + le<uint16_t>(0) + local +
           packed;
  }
  const auto count = static_cast<uint16_t>(entries.size());
  return out + directory + "PK\5\6" + le<uint32_t>(0) + le(count) + le(count) +
         le(static_cast<uint32_t>(directory.size())) + le(static_cast<uint32_t>(out.size())) +
         le<uint16_t>(0);
}

/// Opcodes of a pickle, protocol 2.
namespace pkl {
inline std::string text(const std::string& t) {
  return "X" + le(static_cast<uint32_t>(t.size())) + t;
}
inline std::string integer(int32_t value) { return "J" + le(value); }
inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += text(key) + value;
  return out + "u";
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string integers(const Dims& values) {
  std::vector<std::string> items;
  for (const int64_t value : values) items.push_back("\x8a\x08" + le(value));
  return tuple(items);
}
struct TensorSpec {
  std::string storage = "FloatStorage", key = "0";
  int32_t elements = 0;
  int64_t offset = 0;
  Dims dims, strides;
  std::string view;  ///< the sixth part of a storage's id, before PyTorch 1.6
};
inline std::string tensor(const TensorSpec& spec) {
  const std::string id = tuple({text("storage"), global("torch", spec.storage), text(spec.key),
                                text("cpu"), integer(spec.elements), spec.view}) +
                         "Q";
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple({id, "\x8a\x08" + le(spec.offset), integers(spec.dims), integers(spec.strides),
                "\x89", global("collections", "OrderedDict") + ")R"}) +
         "R";
}
inline std::string document(const std::string& body) { return "\x80\x02" + body + "."; }
}  // namespace pkl

}  // namespace vitrail
