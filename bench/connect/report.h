// From samples to figures, and figures against what portpool promises.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "arm.h"

namespace portpool::bench {

// Collects the blocks of one arm at one occupancy.
class Series {
 public:
  void add(const BlockResult& block);

  // Microseconds; 0 without samples. p50 is the median of the blocks' medians, so that a disturbed
  // block does not count more than a calm one; p99 is over all samples.
  double p50_us() const;
  double p99_us() const;
  double cycle_p50_us() const;

  // The median over the rounds of this arm's block median divided by the other's in the same round:
  // the two blocks ran within moments of each other, so the machine's drift falls out. 0 without
  // common rounds.
  double p50_ratio_to(const Series& other) const;
  // The same of socket, connect and close together.
  double cycle_ratio_to(const Series& other) const;

  std::size_t samples() const { return connect_ns_.size(); }
  std::uint64_t errors() const { return errors_; }
  int last_errno() const { return last_errno_; }

 private:
  std::vector<std::uint32_t> connect_ns_;
  std::vector<double> block_medians_ns_;  // by round; 0 where a block has no samples
  std::vector<double> cycle_medians_ns_;
  std::uint64_t errors_ = 0;
  int last_errno_ = 0;
};

struct ArmFigures {
  std::string arm;
  Series series;
};

// What poold counted during the blocks of one occupancy.
struct DaemonFigures {
  std::uint64_t on_pool = 0;
  std::uint64_t on_kernel = 0;
  std::uint64_t rejections = 0;
  nlohmann::json fallbacks = nlohmann::json::object();  // reason -> count, those above 0
};

struct OccupancyFigures {
  double percent = 0;
  std::size_t held = 0;
  std::size_t range = 0;
  std::vector<ArmFigures> arms;
  DaemonFigures daemon;

  const Series* find(const std::string& arm) const;
};

// Names of the arms that the promises speak of.
inline constexpr const char* kKernelArm = "kernel";
inline constexpr const char* kPinnedArm = "pinned";
inline constexpr const char* kShimArm = "shim";
// Other builds of the library: this and a number.
inline constexpr const char* kAgainstArm = "against-";
inline constexpr const char* kNoDaemonArm = "shim-no-daemon";

// A ratio that portpool promises, with the goal it is held to.
struct Promise {
  std::string text;
  double value = 0;
  double goal = 0;
  bool at_least = false;  // else: at most
  bool kept() const { return at_least ? value >= goal : value <= goal; }
};

// Those that the arms and occupancies at hand allow. Where a promise is about several occupancies,
// the worst of them is taken.
std::vector<Promise> promises(const std::vector<OccupancyFigures>& run);

void print(std::ostream& out, const OccupancyFigures& figures);
void print(std::ostream& out, const std::vector<Promise>& promises);
nlohmann::json to_json(const std::vector<OccupancyFigures>& run);

}  // namespace portpool::bench
