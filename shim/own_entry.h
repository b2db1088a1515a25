// This process's entry in the table of attached processes (portpool/attached.h). Taken at the first
// connect, by a forked child at its own first; without a lock or memory, so that it may be in a
// signal handler. Who has none is served all the same.
#pragma once

#include <cstdint>

#include "portpool/fallback.h"
#include "portpool/hints.h"
#include "portpool/segment.h"

namespace portpool::shim {

// A connect that ended on that path; the reason of a fallback.
void count_own(const SegmentView& view, Route path);
void count_own(const SegmentView& view, FallbackReason why);
// Under a filter (filter.h): counted where the process has an entry, without a system call.
void count_own_filtered(const SegmentView& view);

}  // namespace portpool::shim
