// SPDX-License-Identifier: Apache-2.0
// The program `vitrail`: a subcommand a file.
#include <fmt/core.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <iostream>
#include <new>

#include "tools/cli.h"
#include "tools/unknown.h"
#include "vitrail/file.h"

namespace {

// An interrupted build leaves nothing behind. _exit: what static objects would do is not safe here.
void interrupted(int signal) {
  vitrail::remove_unfinished_files();
  constexpr int kSignalled = 128;  // as shells count
  _exit(kSignalled + signal);
}

// What the command line got wrong, in one line.
std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  const std::vector<std::string> unknown = app.remaining(true);
  if (!unknown.empty()) return vitrail::cli::explain_unknown(*command, unknown);
  std::string name = command->get_name();
  if (command->get_parent() && command->get_parent()->get_parent())
    name = command->get_parent()->get_name() + " " + name;
  return fmt::format("{}; see {}{} --help", vitrail::printable(error.what(), 400),
                     command == &app ? "" : "vitrail ", name);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGINT, interrupted);
  std::signal(SIGTERM, interrupted);
  std::signal(SIGPIPE, SIG_DFL);  // `vitrail inspect x | head` ends quietly
  CLI::App app{"Vitrail: build, check and run plans of vision models", "vitrail"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "vitrail 0.1.0");
  vitrail::cli::add_zoo(app);
  vitrail::cli::add_build(app);
  vitrail::cli::add_run(app);
  vitrail::cli::add_bench(app);
  vitrail::cli::add_compare(app);
  vitrail::cli::add_inspect(app);
  vitrail::cli::add_trace(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    fmt::print(stderr, "vitrail: {}\n", explain(app, error));
    return static_cast<int>(vitrail::Code::usage);
  } catch (const vitrail::Error& error) {
    fmt::print(stderr, "vitrail: {}\n", error.what());
    return static_cast<int>(error.code);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "vitrail: out of memory\n");
    return static_cast<int>(vitrail::Code::resource);
  } catch (const std::exception& error) {
    fmt::print(stderr, "vitrail: internal error: {}\n", error.what());
    return static_cast<int>(vitrail::Code::internal);
  }
  return 0;
}
