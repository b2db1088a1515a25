#include "shim/record.h"

#include <sched.h>

#include <cerrno>

#include "shim/attach.h"

namespace portpool::shim {
namespace {

Shard& shard_here(const SegmentView& view) {
  const int cpu = sched_getcpu();
  return view.shard(cpu < 0 ? 0 : static_cast<std::uint32_t>(cpu));
}

void add(Shard& shard, Counter counter) {
  shard.counters[static_cast<std::size_t>(counter)].fetch_add(1, std::memory_order_relaxed);
}

Counter result_of(int error) {
  switch (error) {
    case 0:
      return Counter::k_result_ok;
    case EINPROGRESS:
      return Counter::k_result_in_progress;
    case EADDRNOTAVAIL:
      return Counter::k_result_eaddrnotavail;
    case ECONNREFUSED:
      return Counter::k_result_econnrefused;
    case ETIMEDOUT:
      return Counter::k_result_etimedout;
    case ENETUNREACH:
      return Counter::k_result_enetunreach;
    case EHOSTUNREACH:
      return Counter::k_result_ehostunreach;
    case EINTR:
      return Counter::k_result_eintr;
    default:
      return Counter::k_result_other;
  }
}

}  // namespace

void record(const SegmentView* view, const ConnectRecord& call) {
  if (view == nullptr) return;
  Shard& shard = shard_here(*view);
  shard.latency[histogram_index(call.arm, call.path, call.blocking)].record(call.ns);
  add(shard, result_of(call.error));
}

void count(const SegmentView* view, Counter counter) {
  if (view != nullptr) add(shard_here(*view), counter);
}

void count(const SegmentView* view, FallbackReason why) {
  if (view == nullptr) return count_without_segment(why);
  shard_here(*view).fallbacks[static_cast<std::size_t>(why)].fetch_add(1,
                                                                       std::memory_order_relaxed);
}

}  // namespace portpool::shim
