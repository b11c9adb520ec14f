// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "vitrail/file.h"

namespace vitrail {

/// A regular file mapped read-only. Shared, so that tensors can point into it and keep it alive.
/// If another process truncates the file afterwards, reading past its new end raises SIGBUS:
/// whoever needs to survive that copies first.
class MappedFile {
 public:
  /// Same errors as read_file, without a limit on the size.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  /// Opens `directory`/`relative` for data that a model file names. Refused with Error(bad_input):
  /// absolute paths, "..", symbolic links below `directory` and files with several hard links,
  /// through which a hostile model would read other files of the user (CVE-2024-27318 and kin).
  static std::shared_ptr<const MappedFile> open_beneath(const std::string& directory,
                                                        const std::string& relative);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Bytes bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, int descriptor);
  std::string path_;
  const void* data_ = nullptr;
  size_t size_ = 0;
};

/// A file that appears under its name complete or not at all: written to a temporary name in the
/// same folder, synced, renamed, the folder synced. Destroyed before commit(), it leaves nothing.
/// What a killed process left behind is removed by the next writer of the same name. Every failure
/// throws Error(io) with the path and the system's reason; a target that exists and is not a
/// regular file (a device, a folder) is refused with Error(usage).
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(Bytes bytes);
  void write(std::string_view text) { write(as_bytes(text)); }
  /// Zero bytes up to the next multiple of `alignment`.
  void align(size_t alignment);
  /// Replaces bytes that were written before (a header that holds offsets and checksums).
  void overwrite(uint64_t offset, Bytes bytes);
  uint64_t size() const { return size_; }
  void commit();

 private:
  [[noreturn]] void refuse(const char* action) const;
  std::string shown_;      // as the user named it
  std::string target_;     // with symbolic links resolved
  std::string temporary_;  // empty once committed
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace vitrail
