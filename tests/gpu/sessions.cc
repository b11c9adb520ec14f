// SPDX-License-Identifier: Apache-2.0
// Sessions on a GPU give the same bits however their memory lies and whoever runs beside them:
// page-locked and pageable memory, asynchronous runs, several threads; and graphs of shapes long
// unused are given back.
#include <fmt/core.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>

#include "backends/cuda/driver.h"
#include "backends/cuda/driver_api.h"
#include "tests/gpu/runtime.h"
#include "vitrail/random.h"
#include "vitrail/session.h"

namespace vitrail {
namespace {

constexpr int64_t kShapes = 12;  // more than a session remembers

class Checks {
 public:
  explicit Checks(const std::string& path)
      : plan_(LoadedPlan::load(path)),
        input_(plan_.inputs().at(0)),
        output_(plan_.outputs().at(0)) {
    for (int64_t batch = 1; batch <= kShapes; ++batch) {
      images_.push_back(random_tensor(input_.dtype, dims(batch), static_cast<uint64_t>(batch)));
      Session alone(plan_);
      expected_.push_back(run(alone, batch));
    }
  }

  int run() {
    memory();
    asynchronous();
    threads();
    shapes_come_and_go();
    fmt::print("sessions: {} failure(s)\n", failures_);
    return failures_ ? 1 : 0;
  }

 private:
  Dims dims(int64_t batch) const {
    Dims out = input_.min;
    out[0] = batch;
    return out;
  }
  const Tensor& image(int64_t batch) const { return images_[static_cast<size_t>(batch - 1)]; }
  void set(Session& session, const Tensor& t) const {
    session.set_input(input_.name, t.dtype(), t.dims(), t.raw());
  }
  std::string result(Session& session) const {
    const TensorView view = session.output(output_.name);
    return {static_cast<const char*>(view.data), view.bytes};
  }
  std::string run(Session& session, int64_t batch) const {
    set(session, image(batch));
    session.run();
    return result(session);
  }
  void expect(bool ok, const std::string& what) {
    if (ok) return;
    ++failures_;
    fmt::print("FAILED: {}\n", what);
  }
  void expect(const std::string& got, int64_t batch, const std::string& what) {
    expect(got == expected_[static_cast<size_t>(batch - 1)],
           fmt::format("{}, batch {}: other bits", what, batch));
  }

  void memory() {
    for (const int64_t batch : {int64_t{1}, int64_t{3}, kShapes}) {
      const size_t bytes = expected_[static_cast<size_t>(batch - 1)].size();
      Session session(plan_);
      Tensor in = session.host_tensor(input_.dtype, dims(batch));
      Tensor out = session.host_tensor(DType::u8, {static_cast<int64_t>(bytes)});
      expect(cuda::is_page_locked(in.raw(), in.bytes()) &&
                 !cuda::is_page_locked(image(batch).raw(), image(batch).bytes()),
             "which memory is page-locked");
      std::memcpy(in.mutable_raw(), image(batch).raw(), in.bytes());
      set(session, in);
      session.set_output(output_.name, out.mutable_raw(), out.bytes());
      session.run();
      expect(result(session), batch, "page-locked memory");
      std::string pageable(bytes, '\0');
      session.set_output(output_.name, pageable.data(), pageable.size());
      expect(run(session, batch), batch, "pageable memory");
      expect(pageable, batch, "pageable memory, as the caller sees it");
    }
  }

  void asynchronous() {
    Session a(plan_), b(plan_);
    set(a, image(2)), set(b, image(5));
    for (int round = 0; round < 20; ++round) {
      a.run_async(), b.run_async();
      a.wait(), b.wait();
      expect(result(a), 2, "asynchronous");
      expect(result(b), 5, "asynchronous");
    }
    a.run_async();  // closed while it runs
  }

  void threads() {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t)
      threads.emplace_back([&, t] {
        try {
          Session mine(plan_, {.threads = 2});
          for (int round = 0; round < 40; ++round) {
            const int64_t batch = 1 + (t * 5 + round) % kShapes;
            wrong += run(mine, batch) != expected_[static_cast<size_t>(batch - 1)];
          }
        } catch (const Error& error) {
          ++wrong;
          fmt::print("{}\n", error.what());
        }
      });
    for (std::thread& t : threads) t.join();
    expect(wrong == 0, fmt::format("threads: {} runs of 240", wrong.load()));
  }

  size_t free_bytes() const {
    size_t available = 0, total = 0;
    cuda::Device::open(0)->enter();
    cuda::check(cuda::api().cuMemGetInfo_v2(&available, &total), "asking for free memory");
    return available;
  }
  void shapes_come_and_go() {
    Session session(plan_);
    const auto sweep = [&] {
      for (int64_t batch = 1; batch <= kShapes; ++batch)
        expect(run(session, batch), batch, "shapes in turn");
    };
    sweep(), sweep();
    const size_t before = free_bytes();
    constexpr int kSweeps = 20;  // each records as many graphs as there are shapes
    for (int i = 0; i < kSweeps; ++i) sweep();
    const size_t after = free_bytes();
    const double lost = (static_cast<double>(before) - static_cast<double>(after)) / (1 << 20);
    fmt::print("memory taken by {} sweeps over {} shapes: {:.1f} MiB\n", kSweeps, kShapes, lost);
    expect(lost <= 4, "graphs of old shapes are kept");  // the driver's own pools round up
  }

  LoadedPlan plan_;
  TensorSpec input_, output_;
  std::vector<Tensor> images_;
  std::vector<std::string> expected_;
  int failures_ = 0;
};

}  // namespace

int check_sessions(const std::string& path) { return Checks(path).run(); }

}  // namespace vitrail
