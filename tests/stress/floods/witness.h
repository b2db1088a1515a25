// Who watches a daemon while others flood it: a reader of its heartbeat, and newcomers.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "fault/hostile/attached_segment.h"

namespace portpool::test {

class Witness {
 public:
  using Duration = std::chrono::steady_clock::duration;

  struct Testimony {
    Duration oldest_heartbeat{};      // as programs see it: by this process's own clock
    std::size_t looks = 0;            // at the heartbeat
    std::vector<Duration> newcomers;  // how long each took to have its segment, shortest first

    Duration median_newcomer() const { return newcomers.at(newcomers.size() / 2); }
    Duration latest_newcomer() const { return newcomers.back(); }
    // How many took longer than a program waits.
    std::size_t late_newcomers() const;
  };

  // From now on the heartbeat of the daemon at `socket` is looked at every 5 ms, and a newcomer
  // asks for the segment every 250 ms. Both go before others where they may (SCHED_RR), so that
  // what they wait for is the daemon and not the machine.
  explicit Witness(const std::string& socket);
  ~Witness();
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

  Testimony end();

 private:
  void watch_heartbeat();
  void send_newcomers();

  const std::string socket_;
  const AttachedSegment segment_;
  Testimony seen_;
  std::atomic<bool> ending_ = false;
  std::thread heartbeat_;
  std::thread newcomers_;
};

}  // namespace portpool::test
