// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>

namespace vitrail {

/// What went wrong, in the terms of the program's exit codes (docs/errors.md).
enum class Code : int {
  internal = 1,
  usage = 2,         ///< wrong arguments of a command or of an API call
  bad_input = 3,     ///< a file or tensor is damaged or contradicts itself
  unsupported = 4,   ///< valid, but something this version does not do
  resource = 5,      ///< out of memory, threads, device
  io = 6,            ///< the file system refused
  wrong_target = 7,  ///< a plan for another machine or version
  accuracy = 8,      ///< a check against the reference failed
};

/// Name of a code as printed in messages: "bad input", "unsupported", ...
const char* code_name(Code code);

/// Text for messages: control characters and bytes that are not UTF-8 are escaped, and names longer
/// than `limit` bytes are cut, so that a hostile file cannot write to the user's terminal.
std::string printable(const std::string& text, size_t limit = 200);

/// The one exception of the project. `what()` is one line that names the file, node, tensor or
/// shape, what was expected and found, and what to do.
class __attribute__((visibility("default"))) Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code(code) {}
  Code code;
};

}  // namespace vitrail
