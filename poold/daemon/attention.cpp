#include "daemon/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "daemon/log.h"
#include "daemon/slice.h"
#include "lanes/lane_update.h"

namespace portpool {
namespace {

// Up to this many ports in doubt are looked up one by one (some 2 us each).
constexpr std::size_t kFewDoubts = 2048;
// A turn ends with the lane that reaches this, or with its slice.
constexpr std::size_t kLookupsPerTurn = 2048;
// So many refused claims since the last pass mean that a lane is wrong as a whole.
constexpr std::uint64_t kManyRejections = 8;
constexpr std::chrono::nanoseconds kShortestPause = std::chrono::milliseconds(2);
constexpr int kShare = 20;

}  // namespace

Turn Attention::serve() {
  std::chrono::nanoseconds cost{0};
  const std::uint32_t end = work_.lanes.end();
  std::uint32_t left = end;
  {
    const CpuMeter meter(cost);
    const Slice slice;
    lookups_ = 0;
    for (; left > 0 && lookups_ < kLookupsPerTurn && !slice.over(); --left) {
      LaneRecord* record = work_.lanes.at(from_++ % end);
      if (record == nullptr || !record->filled) continue;
      LaneHints& lane = work_.hints(*record);
      if (lane.attention.load(std::memory_order_relaxed) == 0) continue;
      lane.attention.store(0, std::memory_order_release);
      look_at(*record);
    }
  }
  return {std::max(cost * kShare, kShortestPause), left > 0};
}

void Attention::look_at(LaneRecord& record) {
  const std::uint32_t reported = work_.hints(record).rewritten.load(std::memory_order_relaxed);
  if (std::exchange(record.rewritten, reported) != reported) rewritten_(record);
  try {
    std::optional<std::size_t> looked_up;
    if (!is_for_promises(record.key) && !is_out_of_date(record))
      looked_up = check_port_by_port(record);
    lookups_ += looked_up.value_or(0);
    // With many ports in doubt the next pass is the cheaper way.
    if (!looked_up) needs_pass_();
  } catch (const std::system_error& error) {
    warn_once_a_minute("lane", fmt::format("lane {}: {}", text_of(record.key), error.what()));
  }
  work_.note_supply(record, nullptr);
}

std::optional<std::size_t> Attention::check_port_by_port(LaneRecord& record) {
  LaneHints& lane = work_.hints(record);
  const auto doubts = quarantined_ports(lane, record.range, kFewDoubts + 1);
  if (doubts.size() > kFewDoubts) return std::nullopt;
  truth_.begin(work_.settings.reuse());
  truth_.expect(work_.expected(record), lane);
  const Endpoint destination = destination_of(record.key);
  PortBits asked = {};
  for (const std::uint16_t port : doubts) {
    const auto socket = work_.sock_diag.find({record.key.source, port}, destination);
    if (socket) truth_.add(*socket);
    asked[word_of_port(port)] |= bit_of_port(port);
  }
  update_ports(lane, record, *truth_.find(record.key), work_.blocked, asked);
  return doubts.size();
}

// Others took ports since the last pass, or gave some back: which ones, only a pass can tell.
bool Attention::is_out_of_date(const LaneRecord& record) const {
  const std::uint32_t full = work_.lanes.info(record).full.load(std::memory_order_relaxed);
  const LaneHints& lane = work_.hints(record);
  if (full != 0 && lane.relieved.load(std::memory_order_relaxed) == full) return true;
  return lane.rejections.load(std::memory_order_relaxed) - record.rejections >= kManyRejections;
}

}  // namespace portpool
