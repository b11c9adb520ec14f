// SPDX-License-Identifier: Apache-2.0
#include "tools/account.h"

#include <fmt/core.h>

namespace vitrail::cli {
namespace {

constexpr int kMostAlike = 4;
double mib(uint64_t bytes) { return static_cast<double>(bytes) / 1048576.0; }

// Lines that begin alike up to a name ("not fused as gemm: '...") are many in large models;
// `inspect` shows all.
void print_lines(const std::vector<std::string>& lines) {
  std::map<std::string, int> alike;
  for (const std::string& line : lines) {
    const int count = ++alike[line.substr(0, line.find('\''))];
    if (count <= kMostAlike) fmt::print("{}\n", line);
  }
  for (const auto& [start, count] : alike)
    if (count > kMostAlike)
      fmt::print("{}... {} more; vitrail inspect shows all\n", start, count - kMostAlike);
}

void print_verification(const std::vector<CheckRow>& rows) {
  fmt::print(
      "verified against the float32 reference:\n  {:<40} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} "
      "{:>11} {:>8}\n",
      "output, shapes", "abs max", "mean", "median", "rel max", "mean", "median", "cosine",
      "SQNR dB");
  for (const CheckRow& r : rows)
    fmt::print(
        "  {:<40} {:>9.3g} {:>9.3g} {:>9.3g} {:>9.3g} {:>9.3g} {:>9.3g} {:>11.9f} {:>8.1f}{}{}\n",
        printable(r.output) + ", " + r.at, r.abs_max, r.abs_mean, r.abs_median, r.rel_max,
        r.rel_mean, r.rel_median, r.cosine, r.sqnr_db,
        r.rounded_l2 > 0 ? fmt::format(", {:.2f} x rounding alone", r.relative_l2 / r.rounded_l2)
                         : "",
        r.ok ? "" : "  FAILED");
}

}  // namespace

void print_account(const BuildReport& report) {
  fmt::print("nodes {} -> {}, {} steps\n", report.nodes_before, report.nodes_after, report.steps);
  for (const auto& [family, count] : report.kernels) fmt::print("  {:5} {}\n", count, family);
  print_lines(report.lines);
  fmt::print("memory: weights {:.1f} MiB", mib(report.weight_bytes));
  if (report.arena_bytes > 0)
    fmt::print(", working memory {:.1f} MiB at the opt shapes", mib(report.arena_bytes));
  fmt::print("\n");
  if (report.verification.empty())
    fmt::print("not verified: {}\n", report.unverified);
  else
    print_verification(report.verification);
}

}  // namespace vitrail::cli
