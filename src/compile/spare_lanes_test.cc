// SPDX-License-Identifier: Apache-2.0
#include "compile/spare_lanes.h"

#include <gtest/gtest.h>

namespace vitrail {
namespace {

/// A copy of `columns` channels of 10 pixels from one arena buffer with rows of 64 halves to
/// another, beginning at channel `first` of both.
Plan plan_of(int64_t columns, int64_t first) {
  Plan plan;
  for (int i = 0; i < 2; ++i) {
    plan.buffers.push_back({.bytes = 10 * 64 * 2});
    plan.values.push_back({.name = "v",
                           .dtype = DType::f16,
                           .dims = {10, columns},
                           .buffer = i,
                           .offset = first,
                           .strides = {64, 1}});
  }
  Step step;
  step.inputs = {0};
  step.outputs = {1};
  step.problem.family = "copy";
  step.problem.inputs =
      step.problem.outputs = {{.dtype = DType::f16, .dims = {10, columns}, .strides = {64, 1}}};
  plan.steps.push_back(step);
  return plan;
}

int64_t spare(Plan plan, const char* name) {
  set_spare_lanes(plan);
  return plan.steps[0].problem.integer(name, 0);
}

TEST(SpareLanes, ReachToTheNextRow) {
  EXPECT_EQ(spare(plan_of(62, 0), "spare_out0"), 2);
  EXPECT_EQ(spare(plan_of(62, 0), "spare_in0"), 2);
  EXPECT_EQ(spare(plan_of(31, 32), "spare_out0"), 1);
  EXPECT_EQ(spare(plan_of(64, 0), "spare_out0"), 0);
}

// A Concat of 31 and 31 channels: the second lies where the first one's rows end.
TEST(SpareLanes, EndWhereAnotherValueBegins) {
  Plan plan = plan_of(31, 0);
  plan.values.push_back(plan.values[1]);
  plan.values[2].offset = 31;
  EXPECT_EQ(spare(plan, "spare_out0"), 0);
  plan.values[2].offset = 32;
  EXPECT_EQ(spare(plan, "spare_out0"), 1);
  plan.values[2].strides = {63, 1};  // rows of another pitch run through all lanes
  EXPECT_EQ(spare(plan, "spare_out0"), 0);
}

// What a caller or a weight owns is nobody's to overwrite.
TEST(SpareLanes, OnlyInTheArena) {
  for (const auto kind :
       {PlanBuffer::Kind::input, PlanBuffer::Kind::output, PlanBuffer::Kind::constant}) {
    Plan plan = plan_of(62, 0);
    plan.buffers[1].kind = kind;
    EXPECT_EQ(spare(plan, "spare_out0"), 0);
  }
  Plan last = plan_of(62, 0);
  last.buffers[1].bytes = 9 * 64 * 2 + 62 * 2;  // the last row ends with the buffer
  EXPECT_EQ(spare(last, "spare_out0"), 0);
}

}  // namespace
}  // namespace vitrail
