// The configuration file.
#include "daemon/config.h"

#include <string>

#include "base/error.h"
#include "fuzz/input.h"
#include "lanes/segment.h"
#include "portpool/lane.h"

using namespace portpool;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const AbsentSources absent : {AbsentSources::error, AbsentSources::warning}) {
    try {
      const Config config = parse_config(text, "poold.toml", absent);
      // What the daemon relies on.
      fuzz::require(!config.pools.empty() && config.pools.size() <= kMaxPools);
      fuzz::require(config.max_lanes >= 1 && config.max_lanes <= kMaxLanes);
      fuzz::require(config.ab_block >= kShortestAbBlock && config.ab_block <= kLongestAbBlock);
      for (const PoolRule& rule : config.pools) {
        fuzz::require(rule.sources.size() <= kLanesPerEntry);
      }
    } catch (const UserError& error) {
      fuzz::require(std::string_view(error.what()).starts_with("poold.toml"));
    }
  }
  return 0;
}
