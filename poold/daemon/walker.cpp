#include "daemon/walker.h"

#include <netinet/tcp.h>

#include <exception>
#include <stdexcept>
#include <utility>

#include "base/clock.h"

namespace portpool {
namespace {

using std::chrono::nanoseconds;

constexpr std::uint64_t kRecordsPerLook = 16384;

nanoseconds cpu_time() { return nanoseconds(thread_cpu_ns()); }

struct EndedEarly : std::runtime_error {
  EndedEarly() : std::runtime_error("poold is ending") {}
};

}  // namespace

void Walker::start(WalkOrder order, const BlockedPorts& blocked) {
  order_ = std::move(order);
  walk_ = std::make_unique<Walk>();
  walk_->blocked = blocked;
  beside_.start([this] { run(); });
}

std::unique_ptr<Walk> Walker::finish() {
  if (!beside_.finish()) return nullptr;
  return std::move(walk_);
}

void Walker::run() {
  try {
    const nanoseconds before = cpu_time();
    if (order_.blocked_too) {
      walk_->blocked_read = collect_blocked(sock_diag_, order_.reserved_too, walk_->blocked);
    }
    const nanoseconds between = cpu_time();
    walk_->blocked_cpu = between - before;
    read_lanes();
    walk_->cpu = cpu_time() - between;
  } catch (const std::exception& error) {
    walk_->complete = false;
    walk_->error = error.what();
  }
}

void Walker::read_lanes() {
  walk_->complete = order_.lanes.empty();
  for (int left = order_.tries; left > 0 && !walk_->complete; --left) {
    walk_->truth.begin(order_.reuse);
    for (const ExpectedLane& lane : order_.lanes) {
      walk_->truth.expect(lane, view_.lane_hints(lane.ref.index));
    }
    walk_->complete = dump();
  }
}

bool Walker::dump() {
  std::vector<Endpoint> destinations;
  destinations.reserve(order_.lanes.size());
  bool every = false;
  for (const ExpectedLane& lane : order_.lanes) {
    destinations.push_back(destination_of(lane.key));
    every |= is_for_promises(lane.key);
  }
  std::uint64_t seen = 0;
  const auto visit = [&](const kernel::SocketRecord& socket) {
    walk_->truth.add(socket);
    if (++seen % kRecordsPerLook == 0 && beside_.ended_early()) throw EndedEarly();
  };
  kernel::DumpFilter filter;
  filter.states = ~(kernel::state_bit(TCP_LISTEN) | kernel::state_bit(kernel::kTcpBoundInactive));
  if (!every) filter.destinations = destinations;
  return sock_diag_.dump(filter, visit).complete;
}

}  // namespace portpool
