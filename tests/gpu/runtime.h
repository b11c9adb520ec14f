// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

// Tests of builds and sessions on a GPU, in one program (runtime.cc) as each links the whole
// runtime. Plans have one image input. 0 when all is well.
namespace vitrail {

/// blame.cc
int check_blame();
/// memory.cc; a range of batches from 1.
int check_memory(const std::string& plan);
/// sessions.cc; a range of batches from 1 to 12 or more.
int check_sessions(const std::string& plan);
/// lost.cc. `broken` is written: the plan with kernels in place of its own that trap ("trap") or
/// write where no memory is ("address"), for other programs to run.
int check_lost(const std::string& plan, const std::string& broken, const std::string& how);

}  // namespace vitrail
