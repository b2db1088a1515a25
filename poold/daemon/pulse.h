// The heartbeat, from a thread of its own: programs judge poold by it, and a long pass or a busy
// machine is no reason for all of them to leave the pool.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace portpool {

class Pulse {
 public:
  // An event loop that says nothing for this long hangs: its work is cut into slices of 5 ms.
  static constexpr std::chrono::seconds kStandstill{1};

  // Calls `beat` every kHeartbeatMs, from that thread, for as long as progress() was called within
  // `standstill`. The thread goes before others where poold may say so: SCHED_RR, else nice(2).
  explicit Pulse(std::function<void()> beat, std::chrono::milliseconds standstill = kStandstill);
  ~Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

  // The event loop goes on. From any thread.
  void progress() { progress_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void run();

  const std::function<void()> beat_;
  const std::chrono::milliseconds standstill_;
  std::atomic<std::uint64_t> progress_ = 0;
  std::mutex mutex_;
  std::condition_variable end_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace portpool
