#include "observe/top/monitor.h"

#include <limits>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace portpool {
namespace {

double seconds_between(Monitor::Clock::time_point from, Monitor::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

Monitor::Monitor(std::string socket_path)
    : socket_path_(std::move(socket_path)),
      reader_(std::make_unique<SegmentReader>(socket_path_)),
      heartbeat_(
          reader_->view().header(),
          Clock::now() - std::chrono::milliseconds(
                             watched_daemon_times(reader_->view().header()).heartbeat_age_ms)),
      looked_at_(Clock::now()) {}

void Monitor::judge_life(Clock::time_point now) {
  const StructureHeader& header = reader_->view().header();
  const auto silence = heartbeat_.silence(header, now);
  snapshot_.silent_s = std::chrono::duration<double>(silence).count();
  snapshot_.alive = header.stopped.load(std::memory_order_relaxed) == 0 &&
                    silence <= std::chrono::milliseconds(kHeartbeatStaleMs);
}

// Once a second: where the old daemon hangs, the attempt may take its time.
void Monitor::look_for_successor(Clock::time_point now) {
  if (now - looked_at_ < std::chrono::seconds(1)) return;
  looked_at_ = now;
  try {
    auto reader = std::make_unique<SegmentReader>(socket_path_);
    if (reader->view().header().generation == snapshot_.now.generation) return;
    reader_ = std::move(reader);
  } catch (const UserError&) {
    return;
  }
  readings_.clear();
  levels_.clear();
  heartbeat_ = HeartbeatWatch(reader_->view().header(), now);
  judge_life(now);
}

// By what became of each lane within the window.
void Monitor::watch_lanes(Clock::time_point now) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  while (levels_.size() > 1 && now - levels_[1].at >= kWindow) levels_.pop_front();
  std::unordered_map<LaneKey, Level, KeyHash> before;
  double seconds = 0;
  if (!levels_.empty()) {
    before = {levels_.front().lanes.begin(), levels_.front().lanes.end()};
    seconds = seconds_between(levels_.front().at, now);
  }
  Levels levels{now, {}};
  for (LaneReport& lane : snapshot_.now.lanes) {
    const std::uint32_t used = lane.counts.capacity - lane.counts.free;
    const std::uint32_t half = lane.counts.capacity / 2;
    levels.lanes.emplace_back(lane.key, Level{used, lane.connects});
    const auto found = before.find(lane.key);
    const bool known = found != before.end();
    if (used >= half) {
      lane.to_half = 0;
    } else if (!known || used <= found->second.used) {
      lane.to_half = kNever;
    } else {
      lane.to_half = (half - used) * seconds / (used - found->second.used);
    }
    // Fewer than before: another lane has the place of the one that was known.
    lane.connect_rate = known && seconds > 0 && lane.connects >= found->second.connects
                            ? static_cast<double>(lane.connects - found->second.connects) / seconds
                            : 0;
  }
  if (levels_.empty() || now - levels_.back().at >= std::chrono::seconds(1)) {
    levels_.push_back(std::move(levels));
  }
}

void Monitor::sample() {
  const Clock::time_point now = Clock::now();
  judge_life(now);
  if (!snapshot_.alive) look_for_successor(now);
  snapshot_.now = read_report(reader_->view());
  const std::chrono::duration<double> silence(snapshot_.silent_s);
  snapshot_.now.set_times(daemon_times(
      reader_->view().header(), std::chrono::duration_cast<std::chrono::nanoseconds>(silence)));
  snapshot_.history = std::make_shared<HistoryReading>(reader_->view(), clock_ns(CLOCK_REALTIME));
  watch_lanes(now);
  Report lean = snapshot_.now;
  lean.lanes.clear();
  if (readings_.empty()) {
    snapshot_.seconds = snapshot_.window_seconds = 0;
    snapshot_.moment = snapshot_.window = Report{};
  } else {
    // The youngest reading that covers the window, else the oldest there is.
    while (readings_.size() > 1 && now - readings_[1].at >= kWindow) readings_.pop_front();
    snapshot_.seconds = seconds_between(readings_.back().at, now);
    snapshot_.moment = lean.since(readings_.back().report);
    snapshot_.window_seconds = seconds_between(readings_.front().at, now);
    snapshot_.window = lean.since(readings_.front().report);
  }
  readings_.push_back({now, std::move(lean)});
}

}  // namespace portpool
