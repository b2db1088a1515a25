// The figures of a daemon as text, for people: 80 columns where names allow.
#pragma once

#include <cstddef>
#include <string>

#include "observe/report.h"
#include "observe/top/lanes_view.h"

namespace portpool {

// Which lanes the text shows.
struct ShownLanes {
  std::size_t most = 20;
  LaneOrder order;
};

// `poold status`.
std::string report_as_text(const Report& report, const ShownLanes& shown = {});

// What `poold run` prints at the end. `not_covered`: why the library was not where it should have
// been, if that is known.
std::string report_summary(const Report& report, const std::string& not_covered = {});

// Why the kernel's path was taken, and what failed; "" for neither.
std::string reasons_and_failures(const Report& report);

// How programs are served, in one sentence: the first line of status.
std::string standing(const Report& report);

}  // namespace portpool
