// A configuration, as the doctor's checks look at it.
#pragma once

#include "daemon/config.h"
#include "doctor/facts.h"

namespace portpool {

doctor::ConfigFacts facts_of(const Config& config);

}  // namespace portpool
