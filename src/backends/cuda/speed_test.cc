// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/speed.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace vitrail::cuda {
namespace {

std::string assembler() {
  if (std::system("ptxas --version > /dev/null 2>&1") == 0) return "ptxas";
  const std::string usual = "/usr/local/cuda/bin/ptxas";
  return std::filesystem::exists(usual) ? usual : "";
}

// The driver's own assembler takes them on the device; here the toolkit's, where there is one.
TEST(Speed, KernelsAssemble) {
  if (assembler().empty()) GTEST_SKIP() << "no ptxas here";
  for (const bool hopper : {false, true}) {
    const auto path = std::filesystem::temp_directory_path() /
                      ("vitrail_speed_" + std::to_string(getpid()) + ".ptx");
    std::ofstream(path) << speed_kernels(hopper);
    const std::string command = assembler() + (hopper ? " -arch=sm_90a " : " -arch=sm_80 ") +
                                path.string() + " -o /dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    std::filesystem::remove(path);
  }
}

}  // namespace
}  // namespace vitrail::cuda
