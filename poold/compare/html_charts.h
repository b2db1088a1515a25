// The report's pictures. Each is empty when there is too little to show.
#pragma once

#include <string>

#include "compare/comparison.h"
#include "compare/svg.h"

namespace portpool {

std::string percentile_chart(const Comparison& comparison, const ChartSize& size);
std::string occupancy_chart(const Comparison& comparison, const ChartSize& size);
// Two arms: pair by pair.
std::string difference_chart(const Comparison& comparison, const ChartSize& size);
// One arm: median and p99 of each path as time goes by.
std::string time_chart(const Comparison& comparison, const ChartSize& size);

}  // namespace portpool
