#include "observe/json_parts.h"

#include <nlohmann/json.hpp>
#include <string>

#include "base/address_text.h"

namespace portpool {

nlohmann::ordered_json connects_as_json(const Report& report) {
  return {{"pool", report.path(Route::pool).count}, {"kernel", report.path(Route::kernel).count}};
}

nlohmann::ordered_json fallbacks_as_json(const Report& report) {
  nlohmann::ordered_json fallbacks = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    if (report.fallbacks[i] != 0) {
      fallbacks[std::string(kFallbackTexts[i].name)] = report.fallbacks[i];
    }
  }
  return fallbacks;
}

nlohmann::ordered_json lane_as_json(const LaneReport& lane) {
  return {{"pool", lane.pool},
          {"source", to_text(lane.key.source)},
          {"destination", to_text(destination_of(lane.key))},
          {"capacity", lane.counts.capacity},
          {"in_use", lane.counts.in_use},
          {"quarantined", lane.counts.quarantined},
          {"blocked", lane.counts.blocked},
          {"free", lane.counts.free}};
}

}  // namespace portpool
