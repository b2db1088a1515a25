// What a claim costs, without any system call: nanoseconds at each occupancy of a lane.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "lanes/segment.h"
#include "portpool/latency.h"
#include "portpool/port_map.h"
#include "portpool/trace.h"

namespace portpool {
namespace {

// net.ipv4.ip_local_port_range as the kernel sets it.
constexpr std::uint32_t kLowPort = 32768;
constexpr std::uint32_t kPortsInRange = 28232;

// Occupancies are given to Google Benchmark in hundredths of a per cent, as it takes integers.
constexpr std::int64_t kWhole = 10000;

std::uint32_t free_ports(std::int64_t occupancy) {
  const double share = 1.0 - static_cast<double>(occupancy) / static_cast<double>(kWhole);
  return static_cast<std::uint32_t>(std::lround(kPortsInRange * share));
}

// A lane as the daemon publishes it: the free ports are spread at random over three of the four
// free maps, and the fourth takes what is released.
std::unique_ptr<LaneHints> lane_at(std::int64_t occupancy) {
  auto lane = std::make_unique<LaneHints>();
  std::vector<std::uint16_t> ports(kPortsInRange);
  std::iota(ports.begin(), ports.end(), static_cast<std::uint16_t>(kLowPort));
  std::mt19937_64 random(1);
  std::shuffle(ports.begin(), ports.end(), random);
  ports.resize(free_ports(occupancy));
  for (const std::uint16_t port : ports) {
    put_port(free_map(*lane, static_cast<std::uint32_t>(random() % (kFreeMaps - 1))), port);
  }
  for (auto& ring : lane->ring) ring.store(FreeRing{0, kFreeMaps - 1}.pack());
  return lane;
}

// One lane for all threads of a run; thread 0 makes it before the threads meet at the loop.
std::unique_ptr<LaneHints> shared_lane;
std::unique_ptr<LatencyHistogram> shared_histogram;

std::uint64_t seed_of(const benchmark::State& state) {
  return 0x9E3779B97F4A7C15ULL * (static_cast<std::uint64_t>(state.thread_index()) + 1);
}

std::uint64_t step(std::uint64_t& sequence) {
  sequence += 0x9E3779B97F4A7C15ULL;
  return detail::next_random(sequence);
}

// One claim and the release of the same port: the lane stays at its occupancy.
void claim_and_release(benchmark::State& state) {
  if (state.thread_index() == 0) shared_lane = lane_at(state.range(0));
  std::uint64_t sequence = seed_of(state);
  std::uint64_t found_nothing = 0;
  for (auto iteration : state) {
    const int port = claim(*shared_lane, Parity::even, step(sequence));
    if (port < 0) {
      ++found_nothing;
      continue;
    }
    release(*shared_lane, static_cast<std::uint16_t>(port));
  }
  state.counters["free"] =
      benchmark::Counter(free_ports(state.range(0)), benchmark::Counter::kAvgThreads);
  state.counters["nothing"] = static_cast<double>(found_nothing);
}

// The bitmap alone, without the ring of ages: take from a map and put back into the same map.
void take_and_put(benchmark::State& state) {
  if (state.thread_index() == 0) shared_lane = lane_at(state.range(0));
  std::uint64_t sequence = seed_of(state);
  for (auto iteration : state) {
    const PortMap map = free_map(*shared_lane, 0);
    const int port = take_port(map, Parity::even, step(sequence));
    if (port >= 0) put_port(map, static_cast<std::uint16_t>(port));
  }
}

// What stands beside every claim: the generation of the random number itself.
void random_number(benchmark::State& state) {
  std::uint64_t sequence = seed_of(state);
  for (auto iteration : state) benchmark::DoNotOptimize(step(sequence));
}

// One latency into the histogram. The library keeps a histogram per CPU, so one thread is the usual
// case and two threads on the same histogram the worst.
void record_latency(benchmark::State& state) {
  if (state.thread_index() == 0) shared_histogram = std::make_unique<LatencyHistogram>();
  std::uint64_t sequence = seed_of(state);
  for (auto iteration : state) shared_histogram->record(4096 + (step(sequence) & 0xFFF));
}

// What the trace adds to a call: with nobody listening the look at the header, with a tracer the
// entry as well (but neither the clock nor the getsockname() that the library needs for it).
std::unique_ptr<Segment> traced_segment;

void make_traced_segment(bool listening) {
  traced_segment = std::make_unique<Segment>(SegmentSize{1, 1}, NetworkNamespace{1, 1});
  traced_segment->publish();
  if (listening) renew_trace(traced_segment->view());
}

void trace_call(benchmark::State& state) {
  if (state.thread_index() == 0) make_traced_segment(state.range(0) != 0);
  TraceRecord record;
  for (auto iteration : state) {
    const SegmentView& view = traced_segment->view();
    if (is_traced(view)) write_trace(view, record);
    ++record.started_ns;
  }
}

void occupancies(benchmark::internal::Benchmark* bench) {
  bench->ArgName("percent_x100");
  for (const std::int64_t occupancy : {0, 5000, 9000, 9900, 9990, 9999}) bench->Arg(occupancy);
}

BENCHMARK(claim_and_release)->Apply(occupancies)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(take_and_put)->Apply(occupancies)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(record_latency)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(trace_call)->ArgName("listening")->Arg(0)->Arg(1)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(random_number);

}  // namespace
}  // namespace portpool

BENCHMARK_MAIN();
