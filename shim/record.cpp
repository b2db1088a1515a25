#include "shim/record.h"

#include <sched.h>

#include <cerrno>

#include "portpool/results.h"
#include "shim/attach.h"
#include "shim/own_entry.h"

namespace portpool::shim {
namespace {

Shard& shard_here(const SegmentView& view) {
  const int cpu = sched_getcpu();
  return view.shard(cpu < 0 ? 0 : static_cast<std::uint32_t>(cpu));
}

void add(Shard& shard, Counter counter) {
  shard.counters[static_cast<std::size_t>(counter)].fetch_add(1, std::memory_order_relaxed);
}

ConnectResult result_of(int error) {
  switch (error) {
    case 0:
      return ConnectResult::k_ok;
    case EINPROGRESS:
      return ConnectResult::k_in_progress;
    case EADDRNOTAVAIL:
      return ConnectResult::k_eaddrnotavail;
    case ECONNREFUSED:
      return ConnectResult::k_econnrefused;
    case ETIMEDOUT:
      return ConnectResult::k_etimedout;
    case ENETUNREACH:
      return ConnectResult::k_enetunreach;
    case EHOSTUNREACH:
      return ConnectResult::k_ehostunreach;
    case EINTR:
      return ConnectResult::k_eintr;
    default:
      return ConnectResult::k_other;
  }
}

}  // namespace

void record(const SegmentView* view, const ConnectRecord& call) {
  if (view == nullptr) return;
  Shard& shard = shard_here(*view);
  LatencyHistogram& histogram = shard.latency[histogram_index(call.arm, call.path, call.blocking)];
  histogram.record(call.ns);
  if (call.cpu_sampled) {
    histogram.cpu_ns.fetch_add(call.cpu_ns, std::memory_order_relaxed);
    histogram.cpu_samples.fetch_add(1, std::memory_order_relaxed);
  }
  if (call.error != 0 && call.error != EINPROGRESS) {
    histogram.errors.fetch_add(1, std::memory_order_relaxed);
    if (call.error == EADDRNOTAVAIL) histogram.no_port.fetch_add(1, std::memory_order_relaxed);
  }
  add(shard, result_counter(call.path, result_of(call.error)));
  count_own(*view, call.path);
}

void count(const SegmentView* view, Counter counter) {
  if (view != nullptr) add(shard_here(*view), counter);
}

void count(const SegmentView* view, FallbackReason why) {
  if (view == nullptr) return count_without_segment(why);
  shard_here(*view).fallbacks[static_cast<std::size_t>(why)].fetch_add(1,
                                                                       std::memory_order_relaxed);
  count_own(*view, why);
}

void count_filtered(const SegmentView* view, int error) {
  if (view == nullptr) return count_without_segment(FallbackReason::k_seccomp);
  Shard& shard = view->shard(0);
  add(shard, result_counter(Route::kernel, result_of(error)));
  shard.fallbacks[static_cast<std::size_t>(FallbackReason::k_seccomp)].fetch_add(
      1, std::memory_order_relaxed);
  count_own_filtered(*view);
}

}  // namespace portpool::shim
