// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace vitrail::cli {

/// One line about arguments that a subcommand does not take: for options of trtexec and Polygraphy
/// what to use instead, for others the nearest option there is.
std::string explain_unknown(const CLI::App& command, const std::vector<std::string>& unknown);

}  // namespace vitrail::cli
