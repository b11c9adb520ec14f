// SPDX-License-Identifier: Apache-2.0
#include "compile/live_ranges.h"

#include <algorithm>
#include <set>

namespace vitrail {
namespace {

class LiveRanges {
 public:
  explicit LiveRanges(Plan& plan) : plan_(plan) {
    for (PlanBuffer& b : plan_.buffers) b.first = INT32_MAX, b.last = -1;
  }

  void run() {
    std::set<int> touched;
    block(plan_.steps, touched);
    for (PlanBuffer& b : plan_.buffers)
      if (b.last < 0) b.first = b.last = 0;
  }

 private:
  void block(const Block& steps, std::set<int>& touched) {
    int begin = 0, end = 0;  // of the steps that run at once
    for (const Step& s : steps) {
      if (s.together > 1) begin = next_, end = next_ + s.together;
      const bool alone = next_ >= end;
      step(s, touched);
      for (const auto* list : {&s.inputs, &s.outputs})
        if (!alone) touch(*list, begin, touched), touch(*list, end - 1, touched);
    }
  }

  void step(const Step& s, std::set<int>& touched) {
    const int at = next_++;
    for (const auto* list : {&s.inputs, &s.outputs}) touch(*list, at, touched);
    for (const auto& list : s.block_inputs) touch(list, at, touched);
    std::set<int> inside;
    for (size_t i = 0; i < s.blocks.size(); ++i) {
      block(s.blocks[i], inside);
      if (i < s.block_outputs.size()) touch(s.block_outputs[i], next_ - 1, inside);
    }
    if (s.kind == Step::Kind::branch || s.kind == Step::Kind::loop)
      touch(s.outputs, next_ - 1, touched);
    if (s.kind == Step::Kind::loop)
      for (int b : inside) {
        PlanBuffer& buffer = plan_.buffers[static_cast<size_t>(b)];
        if (buffer.first < at) buffer.last = std::max(buffer.last, next_ - 1);
      }
    touched.insert(inside.begin(), inside.end());
  }

  void touch(const std::vector<int>& values, int at, std::set<int>& touched) {
    for (int v : values) {
      if (v < 0) continue;
      const int b = plan_.values[static_cast<size_t>(v)].buffer;
      PlanBuffer& buffer = plan_.buffers[static_cast<size_t>(b)];
      buffer.first = std::min(buffer.first, at);
      buffer.last = std::max(buffer.last, at);
      touched.insert(b);
    }
  }

  Plan& plan_;
  int next_ = 0;
};

}  // namespace

void set_live_ranges(Plan& plan) { LiveRanges(plan).run(); }

}  // namespace vitrail
