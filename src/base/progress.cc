// SPDX-License-Identifier: Apache-2.0
#include "base/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <mutex>

namespace vitrail {
namespace {
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

class Silent : public Progress {
 public:
  void begin(std::string_view, int64_t) override {}
  void advance(int64_t, std::string_view) override {}
  void end() override {}
};

// One for all bars and messages: they share the terminal.
std::mutex& terminal() {
  static std::mutex* const instance = new std::mutex;
  return *instance;
}
bool bar_on_stderr = false;  // guarded by terminal()

std::string duration(double seconds) {
  if (seconds < 60) return fmt::format("{:.0f} s", seconds);
  return fmt::format("{}:{:02} min", static_cast<int64_t>(seconds) / 60,
                     static_cast<int64_t>(seconds) % 60);
}

class Shown : public Progress {
 public:
  explicit Shown(std::FILE* out) : out_(out) {
    const char* term = std::getenv("TERM");
    const char* no_color = std::getenv("NO_COLOR");
    bar_ = ::isatty(::fileno(out)) != 0 && term != nullptr && std::string_view(term) != "dumb";
    color_ = no_color == nullptr || *no_color == '\0';
  }
  ~Shown() override { Shown::end(); }

  void begin(std::string_view label, int64_t total) override {
    end();
    const std::lock_guard lock(terminal());
    label_ = label;
    total_ = std::max<int64_t>(total, 0);
    done_ = 0;
    detail_.clear();
    active_ = true;
    begun_ = Clock::now();
    drawn_ = begun_;
    if (bar_) draw();
  }
  void advance(int64_t steps, std::string_view detail) override {
    const std::lock_guard lock(terminal());
    if (!active_) return;
    done_ += steps;
    detail_ = detail;
    // A bar for the eye, a log for the reader: the latter gets a line every five seconds.
    const Seconds interval(bar_ ? 0.1 : 5.0);
    const Clock::time_point now = Clock::now();
    if (now - drawn_ < interval) return;
    drawn_ = now;
    if (bar_)
      draw();
    else
      line(fmt::format("{}, {}", counts(), rest()));
  }
  void end() override {
    const std::lock_guard lock(terminal());
    if (!active_) return;
    active_ = false;
    if (bar_) std::fputs("\r\x1b[K", out_);
    if (out_ == stderr) bar_on_stderr = false;
    line(fmt::format("{}, {}", counts(), duration(elapsed())));
  }

 private:
  double elapsed() const { return Seconds(Clock::now() - begun_).count(); }
  std::string counts() const {
    if (total_ == kShare)
      return fmt::format("{:.0f} %", 100.0 * static_cast<double>(done_) / kShare);
    return total_ > 0 ? fmt::format("{}/{}", done_, total_) : fmt::format("{}", done_);
  }
  std::string rest() const {
    if (total_ == 0 || done_ == 0) return duration(elapsed());
    const double left = elapsed() * static_cast<double>(std::max<int64_t>(total_ - done_, 0)) /
                        static_cast<double>(done_);
    return "about " + duration(left) + " left";
  }
  void line(const std::string& text) {
    fmt::print(out_, "{}: {}\n", label_, text);
    std::fflush(out_);
  }
  void draw() {
    struct winsize window {};
    const size_t columns =
        ::ioctl(::fileno(out_), TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
    std::string text = fmt::format("{} {}  {}  {}", label_, counts(), rest(), detail_);
    constexpr size_t kBar = 24;
    if (text.size() + kBar + 3 > columns) text.resize(columns > kBar + 3 ? columns - kBar - 3 : 0);
    const double part = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 0;
    const auto full = static_cast<size_t>(std::clamp(part, 0.0, 1.0) * kBar);
    fmt::print(out_, "\r\x1b[K[{}{}{}{}] {}", color_ ? "\x1b[32m" : "", std::string(full, '#'),
               color_ ? "\x1b[0m" : "", std::string(kBar - full, '-'), text);
    std::fflush(out_);
    if (out_ == stderr) bar_on_stderr = true;
  }

  std::FILE* out_;
  bool bar_ = false, color_ = false, active_ = false;
  std::string label_, detail_;
  int64_t total_ = 0, done_ = 0;
  Clock::time_point begun_, drawn_;
};
}  // namespace

Progress& no_progress() {
  static Silent instance;
  return instance;
}

std::unique_ptr<Progress> make_progress(std::FILE* out) { return std::make_unique<Shown>(out); }

void write_above_progress(const std::string& text) {
  const std::lock_guard lock(terminal());
  // The bar comes back with its next step, a tenth of a second later.
  if (bar_on_stderr) std::fputs("\r\x1b[K", stderr);
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace vitrail
