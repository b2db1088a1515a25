// A daemon's figures over time: what happened in the last moment, and whether it lives.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "observe/heartbeat_watch.h"
#include "observe/history.h"
#include "observe/report.h"
#include "observe/segment_reader.h"

namespace portpool {

// What a screen shows.
struct Snapshot {
  Report now;
  Report moment;       // between the last two readings
  double seconds = 0;  // between them; 0: there is one reading only
  Report window;       // over some seconds, so that percentiles stand on enough calls
  double window_seconds = 0;
  bool alive = false;
  double silent_s = 0;  // since the last heartbeat
  // Never null: what a view goes back in stays while others come.
  std::shared_ptr<const HistoryReading> history = std::make_shared<HistoryReading>();
};

class Monitor {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kWindow{10};

  // Throws UserError when there is no daemon to look at.
  explicit Monitor(std::string socket_path);

  // Takes a reading. When the daemon has stopped, its last figures stay, and a new one on the same
  // socket is looked for.
  void sample();
  const Snapshot& snapshot() const { return snapshot_; }

 private:
  struct Reading {
    Clock::time_point at;
    Report report;
  };

  // Of a lane, at some moment.
  struct Level {
    std::uint32_t used = 0;  // ports that could not be claimed
    std::uint64_t connects = 0;
  };
  struct Levels {
    Clock::time_point at;
    std::vector<std::pair<LaneKey, Level>> lanes;
  };

  void watch_lanes(Clock::time_point now);
  void judge_life(Clock::time_point now);
  void look_for_successor(Clock::time_point now);

  std::string socket_path_;
  std::unique_ptr<SegmentReader> reader_;
  std::deque<Reading> readings_;  // oldest first, lanes left out
  std::deque<Levels> levels_;     // oldest first, a second apart
  HeartbeatWatch heartbeat_;
  Clock::time_point looked_at_;
  Snapshot snapshot_;
};

}  // namespace portpool
