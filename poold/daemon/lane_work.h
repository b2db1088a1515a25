// What the rooms of the reconciler share: the lanes, what they rest on, and what is known of ports.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>

#include "base/address_text.h"
#include "base/clock.h"
#include "daemon/lane_settings.h"
#include "daemon/rewritten.h"
#include "kernel/sock_diag.h"
#include "lanes/lane_table.h"
#include "lanes/supply.h"
#include "lanes/truth.h"

namespace portpool {

// A lane that nobody has claimed from for so long: whoever has claimed a port has long connected.
inline constexpr std::uint64_t kRestBeats = 500 / kHeartbeatMs;

struct LaneWork {
  StructureWriter structure;
  LaneSettings settings;
  LaneTable lanes;
  Supply supply;
  BlockedPorts blocked;
  kernel::SockDiag sock_diag;  // for look-ups of single sockets; the walks have their own
  RewrittenDestinations rewritten;

  LaneHints& hints(const LaneRecord& record) const { return lanes.hints(record); }

  ExpectedLane expected(const LaneRecord& record, Claims claims = Claims::brief) const {
    const bool rests = !is_for_promises(record.key) && lanes.beats_unused(record) > kRestBeats;
    return {record.key, record.ref, record.range, rests ? Claims::none : claims};
  }

  // True when the lane has ports to spare. `truth`: what a complete dump said of the lane, or null
  // where only some of its ports were looked up.
  bool note_supply(LaneRecord& record, const LaneTruth* truth) {
    // Promises do not run out: what is short is taken from elsewhere.
    if (is_for_promises(record.key)) return true;
    return supply.note(lanes.info(record), hints(record), record, truth, blocked,
                       settings.is_exposed(record.pool));
  }
};

// Some port of the lane is in use, or is perhaps about to be.
inline bool holds_ports(const LaneRecord& record, const LaneTruth& truth) {
  if (!record.suspect.empty()) return true;
  for (const TruthWord& word : truth.words()) {
    if (word.used != 0) return true;
  }
  return false;
}

// The kernel's table has sockets between the lane's ends.
inline bool has_sockets(const LaneTruth& truth) {
  return std::any_of(truth.words().begin(), truth.words().end(),
                     [](const TruthWord& word) { return word.has_sockets(); });
}

inline std::string text_of(const LaneKey& key) {
  const Endpoint destination = destination_of(key);
  return to_text(key.source) + " -> " + (is_for_promises(key) ? "any" : to_text(destination));
}

// What the thread spends on a piece of work, added up where the object ends.
class CpuMeter {
 public:
  explicit CpuMeter(std::chrono::nanoseconds& sum) : sum_(sum) {}
  ~CpuMeter() { sum_ += std::chrono::nanoseconds(thread_cpu_ns() - before_); }
  CpuMeter(const CpuMeter&) = delete;
  CpuMeter& operator=(const CpuMeter&) = delete;

 private:
  std::chrono::nanoseconds& sum_;
  std::uint64_t before_ = thread_cpu_ns();
};

}  // namespace portpool
