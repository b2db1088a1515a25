#include "daemon/pulse.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <utility>

#include "base/thread.h"
#include "portpool/structure.h"

namespace portpool {
namespace {

constexpr int kNice = -10;

// Some microseconds ten times a second, which must not wait until others have had their turn.
void go_first() {
  sched_param parameters{};
  parameters.sched_priority = 1;
  if (sched_setscheduler(0, SCHED_RR, &parameters) == 0) return;
  // Of this thread alone (setpriority(2), C library/kernel differences).
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
}

}  // namespace

Pulse::Pulse(std::function<void()> beat, std::chrono::milliseconds standstill)
    : beat_(std::move(beat)), standstill_(standstill) {
  thread_ = thread_without_signals([this] { run(); });
}

Pulse::~Pulse() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  end_.notify_one();
  thread_.join();
}

void Pulse::run() {
  using Clock = std::chrono::steady_clock;
  go_first();
  std::uint64_t seen = 0;
  Clock::time_point moved = Clock::now();
  std::unique_lock lock(mutex_);
  while (!ending_) {
    const Clock::time_point now = Clock::now();
    const std::uint64_t progress = progress_.load(std::memory_order_relaxed);
    if (std::exchange(seen, progress) != progress) moved = now;
    if (now - moved < standstill_) beat_();
    end_.wait_until(lock, now + std::chrono::milliseconds(kHeartbeatMs),
                    [this] { return ending_; });
  }
}

}  // namespace portpool
