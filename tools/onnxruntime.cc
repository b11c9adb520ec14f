// SPDX-License-Identifier: Apache-2.0
#include "tools/onnxruntime.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "tools/cli.h"
#include "vitrail/file.h"
#include "vitrail/graph.h"
#include "vitrail/tensor_file.h"

namespace vitrail::cli {
namespace {

constexpr int kNoRuntime = 90;

// Outputs go by number, because a name may be one of numpy.savez's own parameters.
constexpr const char* kScript = R"(
import sys
model, inputs, outputs = sys.argv[1:]
try:
    import numpy, onnxruntime
except ImportError as error:
    sys.exit(90)
try:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with numpy.load(inputs) as stored:
        feed = {name: stored[name] for name in stored.files}
    numpy.savez(outputs, *session.run(None, feed))
except Exception as error:
    sys.exit(" ".join(str(error).split()))
)";

// Exit status of a program whose standard error goes to a file; -1 when it cannot be started.
int run_program(const std::vector<std::string>& words, const std::string& errors) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t child = 0;
  const int failed = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return -1;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string last_line(const std::string& path) {
  constexpr size_t kMost = 1 << 20, kShown = 400;
  std::error_code ignored;
  if (std::filesystem::file_size(path, ignored) == 0) return "no message";
  std::string text = read_file(path, kMost);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return printable(text.substr(text.rfind('\n') + 1)).substr(0, kShown);
}

}  // namespace

NamedTensors run_onnxruntime(const std::string& model, const NamedTensors& inputs) {
  const char* named = std::getenv("VITRAIL_PYTHON");
  const std::string python = named && *named ? named : "python3";
  const TemporaryFolder folder;
  const std::string in = folder.at("inputs.npz"), out = folder.at("outputs.npz"),
                    errors = folder.at("errors");
  write_tensors(in, inputs);
  const int status = run_program({python, "-c", kScript, model, in, out}, errors);
  if (status == -1 || status == 127)
    throw Error(Code::unsupported, fmt::format("'{}' cannot be started, so there is no ONNX "
                                               "Runtime to compare with; set VITRAIL_PYTHON",
                                               python));
  if (status == kNoRuntime)
    throw Error(Code::unsupported,
                fmt::format("'{}' has no package onnxruntime; install it there (with numpy), or "
                            "name another Python by VITRAIL_PYTHON",
                            python));
  if (status != 0)
    throw Error(Code::bad_input,
                fmt::format("ONNX Runtime on '{}': {}", printable(model), last_line(errors)));
  const NamedTensors results = read_tensors(out);
  const auto names = Graph::import_onnx(model).outputs();
  NamedTensors named_results;
  for (size_t i = 0; i < results.size(); ++i)
    named_results.emplace_back(names.at(i).name, results[i].second);
  return named_results;
}

}  // namespace vitrail::cli
