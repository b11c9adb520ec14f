// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace vitrail {

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The whole of a regular file. Throws Error(io) when it cannot be opened or read, Error(bad_input)
/// for a directory, pipe, device or empty file and for one larger than `limit` bytes.
std::string read_file(const std::string& path, size_t limit);

/// Writes a file that appears under its name complete or not at all: temporary name in the same
/// folder, sync, rename. Every failure leaves the old file and throws Error(io) with the path and
/// the system's reason; a target that exists and is not a regular file is refused with
/// Error(usage).
void write_atomically(const std::string& path, std::span<const Bytes> chunks);
void write_atomically(const std::string& path, std::string_view text);

/// Deletes what this process has begun to write and not finished. Only for a signal handler that
/// ends the process afterwards; async-signal-safe.
void remove_unfinished_files() noexcept;

/// Throws Error(usage) when both names lead to the same file, so that a command does not overwrite
/// what it reads.
void require_distinct(const std::string& input, const std::string& output);

}  // namespace vitrail
