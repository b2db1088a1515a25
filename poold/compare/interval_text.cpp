#include "compare/interval_text.h"

#include <fmt/format.h>

#include "base/number_text.h"

namespace portpool {

std::string us_text(const Interval& interval) {
  return fmt::format("{} ({} to {})", us_text(interval.value), us_text(interval.low),
                     us_text(interval.high));
}

std::string ratio_text(const Interval& interval) {
  return fmt::format("{} ({} to {})", ratio_text(interval.value), ratio_text(interval.low),
                     ratio_text(interval.high));
}

}  // namespace portpool
