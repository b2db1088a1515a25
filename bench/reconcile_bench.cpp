// What one pass of reconcile costs poold apart from the kernel's own part of it: reading the answer
// and bringing lanes into agreement, on tables that no test machine holds.
#include <benchmark/benchmark.h>
#include <netinet/tcp.h>

#include <memory>
#include <random>

#include "kernel/sock_diag_parse.h"
#include "lanes/lane_update.h"
#include "support/synthetic_dump.h"

namespace {

using namespace portpool;
using test::SyntheticDump;

constexpr std::uint32_t kSource = 0x0A000001;       // 10.0.0.1 and up
constexpr std::uint32_t kDestination = 0x0A010001;  // 10.1.0.1
constexpr std::uint16_t kDestinationPort = 443;
constexpr std::uint32_t kSocketsPerLane = 25'000;

// range(0) sockets, spread over lanes of 25,000 each.
void pass(benchmark::State& state) {
  const auto sockets = static_cast<std::uint32_t>(state.range(0));
  const std::uint32_t lanes = (sockets + kSocketsPerLane - 1) / kSocketsPerLane;
  std::mt19937 random(1);
  SyntheticDump dump;
  for (std::uint32_t i = 0; i < sockets; ++i) {
    dump.add(kSource + i % lanes, static_cast<std::uint16_t>(32768 + random() % 28232),
             kDestination, kDestinationPort, random() % 4 == 0 ? TCP_TIME_WAIT : TCP_ESTABLISHED,
             0);
  }
  std::vector<LaneRecord> records(lanes);
  std::vector<std::unique_ptr<LaneHints>> memory;
  for (std::uint32_t i = 0; i < lanes; ++i) {
    records[i].key = {address_from_v4({htonl(kSource + i)}), address_from_v4({htonl(kDestination)}),
                      kDestinationPort};
    records[i].range = {32768, 60999};
    memory.push_back(std::make_unique<LaneHints>());
  }
  TruthCollector collector;
  const BlockedPorts blocked;
  for (auto _ : state) {
    collector.begin({0, 1000});
    for (std::uint32_t i = 0; i < lanes; ++i)
      collector.expect({records[i].key, records[i].ref, records[i].range}, *memory[i]);
    for (const SyntheticDump::Buffer& buffer : dump.buffers()) {
      kernel::parse_sock_diag(buffer.data(), buffer.size(), SyntheticDump::kSequence,
                              [&](const auto& socket) { collector.add(socket); });
    }
    for (std::uint32_t i = 0; i < lanes; ++i) {
      update_lane(*memory[i], records[i], *collector.find(records[i].key), blocked);
    }
  }
  state.counters["ns_per_socket"] = benchmark::Counter(
      static_cast<double>(sockets),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(pass)->Arg(28'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
