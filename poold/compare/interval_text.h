// Intervals as people read them.
#pragma once

#include <string>

#include "compare/bootstrap.h"

namespace portpool {

std::string us_text(const Interval& interval);     // "5.13 (5.01 to 5.30)"
std::string ratio_text(const Interval& interval);  // "203 (190 to 215)"

}  // namespace portpool
