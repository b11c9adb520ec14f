// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "vitrail/trace.h"

// What `trace` and `bench --dumpProfile` show. The forms are described in docs/trace.md.
namespace vitrail::cli {

struct TraceTextOptions {
  int top = 0;    ///< only so many steps, longest first; 0: all, in order
  int depth = 0;  ///< of the table by module; 0: none
};
std::string trace_text(const Trace& trace, const TraceTextOptions& options);
std::string trace_json(const Trace& trace, int depth);
/// Chrome's trace events.
std::string trace_events(const Trace& trace);
/// trtexec's --exportProfile.
std::string trace_profile(const Trace& trace);

}  // namespace vitrail::cli
