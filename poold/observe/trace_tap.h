// Listening to a daemon's trace (portpool/trace.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "observe/heartbeat_watch.h"
#include "observe/segment_reader.h"
#include "portpool/trace.h"

namespace portpool {

class TraceTap {
 public:
  // Listens from now on. Throws UserError that says what is wrong and what to do.
  explicit TraceTap(const std::string& socket_path);

  // Hands over what is new, oldest first, and keeps the trace on for another 3 s: call it many
  // times a second.
  void poll(const std::function<void(const TraceRecord&)>& take);

  // Throws UserError when the daemon has ended or its heartbeat stands still.
  void check_daemon();

  // Calls that were traced, but whose entries were overwritten before they were read.
  std::uint64_t lost() const { return lost_; }
  // How often poll() came so late that the trace had gone off.
  std::uint64_t pauses() const { return pauses_; }

 private:
  using Clock = std::chrono::steady_clock;

  void keep_on();
  // The entry at position_ is not ready: true while that may still change.
  bool worth_waiting();

  std::string socket_path_;
  SegmentReader reader_;
  std::uint64_t position_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t pauses_ = 0;
  HeartbeatWatch heartbeat_;
  std::uint64_t pending_ = ~std::uint64_t{0};  // the ticket that is waited for
  Clock::time_point pending_since_;
};

}  // namespace portpool
