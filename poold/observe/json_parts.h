// What stands alike in `poold status --json` and in its record of the last hour.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "observe/report.h"

namespace portpool {

nlohmann::ordered_json connects_as_json(const Report& report);
// Reasons that there were none of are left out.
nlohmann::ordered_json fallbacks_as_json(const Report& report);
// Whose it is, and its ports.
nlohmann::ordered_json lane_as_json(const LaneReport& lane);

}  // namespace portpool
