// A latency distribution in HdrHistogram's text form (.hgrm), which its plotters read.
#pragma once

#include <string>

#include "observe/report.h"

namespace portpool {

// Values in microseconds. Five lines for each halving of the distance to 100 %, as HdrHistogram's
// own tools print by default; the last line is the maximum. A line's value is that of
// quantile_us(), where those tools give the end of the bucket; its count is that of the whole
// bucket, as theirs.
std::string latency_as_hgrm(const LatencySum& latency);

}  // namespace portpool
