#include "daemon/table_room.h"

#include <spdlog/spdlog.h>

namespace portpool {
namespace {

constexpr std::chrono::minutes kWarningPause{1};

}  // namespace

void TableRoom::needed() {
  // Idleness is counted in heartbeats, and places that are coming free are enough for now.
  const auto now = Clock::now();
  if (more_ || work_.lanes.comes_free() || now < look_due_) return;
  look_due_ = now + std::chrono::milliseconds(kHeartbeatMs);
  more_ = retirement_.choose_by_need() > 0;
  if (!more_) needed_ = true;
}

void TableRoom::pass_ended(bool all) {
  if (!needed_) {
    more_ = retirement_.choose_idle() > 0 || more_;
    return;
  }
  more_ = retirement_.choose_by_need() > 0;
  if (!more_ && all && !work_.lanes.comes_free()) warn_rarely();
  if (more_ || all) needed_ = false;
}

bool TableRoom::run(const Slice& slice) {
  while (more_ && !slice.over()) more_ = retirement_.retire_next();
  if (more_) return true;
  if (const std::size_t retired = retirement_.take_count(); retired > 0) {
    spdlog::debug("{} idle lanes retired", retired);
  }
  return false;
}

void TableRoom::warn_rarely() {
  const auto now = Clock::now();
  if (now < warning_due_) return;
  warning_due_ = now + kWarningPause;
  spdlog::warn(
      "the lane table is full: all {} lanes hold ports or were used within the last second; "
      "connects to other destinations take the kernel's path (no_lane) meanwhile; raise max_lanes",
      work_.lanes.places());
}

}  // namespace portpool
