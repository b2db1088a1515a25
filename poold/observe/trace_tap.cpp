#include "observe/trace_tap.h"

#include <fmt/format.h>

#include "base/error.h"

namespace portpool {
namespace {

// A writer needs nanoseconds, or a time slice when it is interrupted; one that takes longer has
// most likely been killed.
constexpr std::chrono::milliseconds kPatience{100};

}  // namespace

TraceTap::TraceTap(const std::string& socket_path)
    : socket_path_(socket_path),
      reader_(socket_path, SegmentReader::Access::trace),
      heartbeat_(reader_.view().header(), Clock::now()) {
  position_ = reader_.view().hints().trace_head.load(std::memory_order_relaxed);
  renew_trace(reader_.view());
}

void TraceTap::check_daemon() {
  const StructureHeader& header = reader_.view().header();
  if (header.stopped.load(std::memory_order_relaxed) != 0) {
    throw UserError(fmt::format(
        "the daemon on {} has ended; programs are on the kernel's path until one is started",
        socket_path_));
  }
  if (heartbeat_.silence(header, Clock::now()) > std::chrono::milliseconds(kHeartbeatStaleMs)) {
    throw UserError(fmt::format(
        "the daemon on {} has no heartbeat any more (killed, or stopped?); restart it, see "
        "\"poold status\"",
        socket_path_));
  }
}

// Once a second or so: each store makes every CPU fetch the line anew.
void TraceTap::keep_on() {
  const SegmentView& view = reader_.view();
  const std::uint32_t left =
      view.hints().trace_until.load(std::memory_order_relaxed) -
      static_cast<std::uint32_t>(view.header().heartbeat.load(std::memory_order_relaxed));
  if (is_traced(view) && left > kTraceLeaseBeats * 2 / 3) return;
  if (!renew_trace(view)) ++pauses_;
}

bool TraceTap::worth_waiting() {
  const Clock::time_point now = Clock::now();
  if (pending_ != position_) {
    pending_ = position_;
    pending_since_ = now;
  }
  return now - pending_since_ < kPatience;
}

void TraceTap::poll(const std::function<void(const TraceRecord&)>& take) {
  keep_on();
  const SegmentView& view = reader_.view();
  const std::uint64_t head = view.hints().trace_head.load(std::memory_order_relaxed);
  if (head < position_) position_ = head;  // not by poold or the shim
  if (head - position_ > view.trace_count()) {
    lost_ += head - position_ - view.trace_count();
    position_ = head - view.trace_count();
  }
  for (; position_ < head; ++position_) {
    TraceRecord record;
    const TraceRead result = read_trace(view, position_, record);
    if (result == TraceRead::complete) {
      take(record);
    } else if (result == TraceRead::lost || !worth_waiting()) {
      ++lost_;
    } else {
      break;
    }
  }
}

}  // namespace portpool
