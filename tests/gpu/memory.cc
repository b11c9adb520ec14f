// SPDX-License-Identifier: Apache-2.0
// A session that asks for more of the GPU's memory than is free: refused with the sizes named, and
// usable afterwards. The memory is taken by the test itself, so that no plan has to be as large as
// a GPU.
#include <fmt/core.h>

#include <cstring>
#include <string>

#include "backends/cuda/driver.h"
#include "backends/cuda/driver_api.h"
#include "tests/gpu/runtime.h"
#include "vitrail/session.h"

namespace vitrail {
namespace {

constexpr size_t kLeft = size_t{64} << 20;

}  // namespace

int check_memory(const std::string& path) {
  const LoadedPlan plan = LoadedPlan::load(path);
  const TensorSpec& input = plan.inputs().at(0);
  const std::string name = plan.outputs().at(0).name;
  int64_t elements = 1;
  for (const int64_t extent : input.min) elements *= extent;
  const std::vector<float> image(static_cast<size_t>(elements), 0.5F);
  Session session(plan);
  const auto run = [&] {
    session.set_input(input.name, DType::f32, input.min, image.data());
    session.run();
    const TensorView view = session.output(name);
    return std::string(static_cast<const char*>(view.data), view.bytes);
  };
  const std::string before = run();

  const auto device = cuda::Device::open(0);
  device->enter();
  size_t available = 0, total = 0;
  cuda::check(cuda::api().cuMemGetInfo_v2(&available, &total), "asking for free memory");
  std::string message = "nothing was refused";
  {
    cuda::Memory taken(device);
    taken.reserve(available - kLeft, "the test");
    session.set_input(input.name, DType::f32, input.max, nullptr);
    try {
      session.bind();
    } catch (const Error& e) {
      message =
          fmt::format("{}{}", e.code == Code::resource ? "" : "another kind of error: ", e.what());
    }
    fmt::print("{}\n", message);
    if (message.find("bytes of the GPU's memory") == std::string::npos ||
        message.find("of " + std::to_string(total)) == std::string::npos)
      return 1;
    if (run() != before)
      return fmt::print("after the refusal the same image gives other bits\n"), 1;
  }
  session.set_input(input.name, DType::f32, input.max, nullptr);
  session.bind();
  if (run() != before)
    return fmt::print("after a larger batch the same image gives other bits\n"), 1;
  return 0;
}

}  // namespace vitrail
