// SPDX-License-Identifier: Apache-2.0
#include "compile/reference_cache.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "ir/text.h"

namespace vitrail {
namespace {
namespace fs = std::filesystem;

constexpr const char* kRevision =
#include "reference_revision.inc"
    ;
constexpr double kLong = 0.3;                         // seconds; less is not worth a file
constexpr uintmax_t kMostBytes = uintmax_t{1} << 30;  // of the folder

template <typename T>
Bytes bytes_of(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}
Bytes bytes_of(const Tensor& t) { return {static_cast<const std::byte*>(t.raw()), t.bytes()}; }

// A file: of each tensor type, rank, extents and elements; then the digest of all before.
template <typename Put>
void put_tensors(const std::vector<Tensor>& tensors, const Put& put) {
  for (const Tensor& t : tensors) {
    const auto dtype = static_cast<uint64_t>(t.dtype()), rank = uint64_t{t.dims().size()};
    put(bytes_of(dtype));
    put(bytes_of(rank));
    for (const int64_t extent : t.dims()) put(bytes_of(extent));
    put(bytes_of(t));
  }
}

std::optional<std::vector<Tensor>> read(const std::string& path) {
  if (!fs::exists(path)) return {};
  try {
    const auto file = MappedFile::open(path);
    Bytes rest = file->bytes();
    if (rest.size() < sizeof(Digest)) return {};
    Digest digest;
    std::memcpy(&digest, rest.data() + rest.size() - sizeof digest, sizeof digest);
    rest = rest.first(rest.size() - sizeof digest);
    if (xxh3_128(rest) != digest) return {};
    // What carries its digest was written by us.
    std::vector<Tensor> out;
    const auto take = [&](void* to, size_t bytes) {
      std::memcpy(to, rest.data(), bytes);
      rest = rest.subspan(bytes);
    };
    while (!rest.empty()) {
      uint64_t dtype = 0, rank = 0;
      take(&dtype, sizeof dtype);
      take(&rank, sizeof rank);
      Dims dims(rank);
      for (int64_t& extent : dims) take(&extent, sizeof extent);
      Tensor& t = out.emplace_back(static_cast<DType>(dtype), dims);
      take(t.mutable_raw(), t.bytes());
    }
    fs::last_write_time(path, fs::file_time_type::clock::now());  // the oldest go first
    return out;
  } catch (const std::exception&) {
    return {};
  }
}

void write(const std::string& path, const std::vector<Tensor>& tensors) {
  try {
    fs::create_directories(fs::path(path).parent_path());
    AtomicFile file(path);
    Hasher hasher;
    put_tensors(tensors, [&](Bytes bytes) {
      file.write(bytes);
      hasher.update(bytes);
    });
    const Digest digest = hasher.digest();
    file.write(bytes_of(digest));
    file.commit();
  } catch (const std::exception&) {  // a cache that cannot be written is no reason to fail
  }
}

// Keeps the newest files that fit.
void prune(const fs::path& folder) {
  struct Entry {
    fs::file_time_type time;
    uintmax_t bytes;
    fs::path path;
  };
  std::vector<Entry> entries;
  std::error_code ignored;
  for (const auto& e : fs::directory_iterator(folder, ignored))
    entries.push_back({e.last_write_time(ignored), e.file_size(ignored), e.path()});
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.time > b.time; });
  uintmax_t kept = 0;
  for (const Entry& e : entries)
    if ((kept += e.bytes) > kMostBytes) fs::remove(e.path, ignored);
}

}  // namespace

std::string ReferenceCache::file_of(const ir::Graph& graph, const std::vector<Tensor>& inputs,
                                    const std::string& how) {
  if (graph_ != &graph) {
    graph_ = &graph;
    text_ = ir::print(graph);  // large constants as digests
  }
  Hasher hasher;
  hasher.update(as_bytes(kRevision));
  hasher.update(as_bytes(text_));
  hasher.update(as_bytes(how));
  put_tensors(inputs, [&](Bytes bytes) { hasher.update(bytes); });
  return (fs::path(folder_) / "references" / hasher.digest().str()).string();
}

std::vector<Tensor> ReferenceCache::get(const ir::Graph& graph, const std::vector<Tensor>& inputs,
                                        const std::string& how,
                                        const std::function<std::vector<Tensor>()>& run) {
  if (folder_.empty()) return run();
  const std::string file = file_of(graph, inputs, how);
  if (auto known = read(file)) return std::move(*known);
  const auto start = std::chrono::steady_clock::now();
  std::vector<Tensor> out = run();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (seconds >= kLong) {
    write(file, out);
    prune(fs::path(file).parent_path());
  }
  return out;
}

}  // namespace vitrail
