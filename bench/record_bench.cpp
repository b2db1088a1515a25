// What it costs to leave a connect() in the segment: the shim's own record(), with and without the
// two readings of the clock around it. Each thread has a CPU of its own, and so a shard of its own;
// all share the process's entry in the table of attached processes.
#include <benchmark/benchmark.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "base/clock.h"
#include "lanes/segment.h"
#include "portpool/endpoint.h"
#include "portpool/port_map.h"
#include "shim/attach.h"
#include "shim/identity.h"
#include "shim/process.h"
#include "shim/record.h"

namespace portpool::shim {

// The rest of the shim is not needed: there always is a segment here.
constinit ProcessSettings settings;
void count_without_segment(FallbackReason) {}
const SegmentView* mapped_segment() { return nullptr; }
std::uint64_t random_at(std::uint64_t now) { return mix(now, 1); }

}  // namespace portpool::shim

namespace portpool {
namespace {

std::unique_ptr<Segment> shared_segment;

void make_segment() {
  const long cpus = sysconf(_SC_NPROCESSORS_CONF);
  shared_segment = std::make_unique<Segment>(
      SegmentSize{1, static_cast<std::uint32_t>(std::clamp(cpus, 1L, 128L))},
      NetworkNamespace{1, 1});
  shared_segment->publish();
  shim::start_identity();
}

// The n-th CPU that this process may use.
void run_on_nth_cpu(int n) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  n %= CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || n-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

// The calling thread on one CPU for as long as this lives; Google Benchmark uses thread 0 again.
class OnCpu {
 public:
  explicit OnCpu(int n) {
    sched_getaffinity(0, sizeof before_, &before_);
    run_on_nth_cpu(n);
  }
  ~OnCpu() { sched_setaffinity(0, sizeof before_, &before_); }
  OnCpu(const OnCpu&) = delete;
  OnCpu& operator=(const OnCpu&) = delete;

 private:
  cpu_set_t before_;
};

std::uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

shim::ConnectRecord by_pool(std::uint64_t ns) { return {Route::pool, Route::pool, true, 0, ns}; }

// Latency and result, of lengths that fall into many buckets as real ones do.
void record(benchmark::State& state) {
  if (state.thread_index() == 0) make_segment();
  const OnCpu here(state.thread_index());
  std::uint64_t sequence = 1;
  for (auto iteration : state) {
    sequence = detail::next_random(sequence + 1);
    shim::record(&shared_segment->view(), by_pool(4096 + (sequence & 0xFFF)));
  }
}

void clock_twice_and_record(benchmark::State& state) {
  if (state.thread_index() == 0) make_segment();
  const OnCpu here(state.thread_index());
  for (auto iteration : state) {
    const std::uint64_t start = now_ns();
    shim::record(&shared_segment->view(), by_pool(now_ns() - start));
  }
}

BENCHMARK(record)->Threads(1)->Threads(2);
BENCHMARK(clock_twice_and_record)->Threads(1)->Threads(2);

}  // namespace
}  // namespace portpool

BENCHMARK_MAIN();
