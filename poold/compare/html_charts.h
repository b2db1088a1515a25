// The report's pictures. Each is empty when there is too little to show.
#pragma once

#include <string>

#include "compare/comparison.h"

namespace portpool {

std::string percentile_chart(const Comparison& comparison);
std::string occupancy_chart(const Comparison& comparison);
// Two arms: pair by pair.
std::string difference_chart(const Comparison& comparison);
// One arm: median and p99 as time goes by.
std::string time_chart(const Comparison& comparison);

}  // namespace portpool
