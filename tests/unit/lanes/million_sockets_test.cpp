// A pass over a table of a million sockets: parsed, sorted into lanes and brought into the lanes'
// maps, as poold does with the kernel's own answer.
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <random>

#include "kernel/sock_diag_parse.h"
#include "lanes/lane_update.h"
#include "support/synthetic_dump.h"
#include "unit/contract/lane_memory.h"

namespace portpool::test {
namespace {

constexpr std::uint32_t kSources = 8;
constexpr std::uint32_t kDestinations = 8;
constexpr std::uint32_t kSockets = 1'000'000;
constexpr std::uint16_t kLow = 1024;
constexpr std::uint16_t kHigh = 65000;
constexpr std::uint32_t kSource = 0x0A000001;       // 10.0.0.1 and up
constexpr std::uint32_t kDestination = 0x0A010001;  // 10.1.0.1 and up
constexpr std::uint16_t kDestinationPort = 443;

enum class Use : std::uint8_t { none, live, waiting };

// Which 4-tuples exist, toward all destinations; poold keeps a lane for every second of them.
class Table {
 public:
  explicit Table(std::uint64_t seed) : random_(seed) {
    while (dump_.sockets() < kSockets) {
      const auto source = static_cast<std::uint32_t>(random_() % kSources);
      const auto destination = static_cast<std::uint32_t>(random_() % kDestinations);
      const auto port = static_cast<std::uint16_t>(kLow + random_() % (kHigh - kLow + 1));
      Use& use = uses_[source][destination][port];
      if (use != Use::none) continue;
      use = random_() % 3 == 0 ? Use::waiting : Use::live;
      dump_.add(kSource + source, port, kDestination + destination, kDestinationPort,
                use == Use::live ? TCP_ESTABLISHED : TCP_TIME_WAIT,
                use == Use::live ? 0 : 1 + static_cast<std::uint32_t>(random_() % 60000));
    }
  }

  const SyntheticDump& dump() const { return dump_; }
  Use use(std::uint32_t source, std::uint32_t destination, std::uint16_t port) const {
    return uses_[source][destination][port];
  }

 private:
  std::mt19937_64 random_;
  SyntheticDump dump_;
  std::vector<std::vector<std::vector<Use>>> uses_{
      kSources, std::vector<std::vector<Use>>(kDestinations, std::vector<Use>(65536, Use::none))};
};

LaneKey key_of(std::uint32_t source, std::uint32_t destination) {
  return {address_from_v4({htonl(kSource + source)}),
          address_from_v4({htonl(kDestination + destination)}), kDestinationPort};
}

class MillionSockets : public ::testing::Test {
 protected:
  struct Kept {
    std::uint32_t source;
    std::uint32_t destination;
    LaneRecord record;
    std::unique_ptr<LaneHints> lane = make_lane();
  };

  MillionSockets() {
    for (std::uint32_t i = 0; i < kSources * kDestinations; i += 2) {
      Kept& kept = lanes_.emplace_back(Kept{i / kDestinations, i % kDestinations, {}});
      kept.record.key = key_of(kept.source, kept.destination);
      kept.record.range = {kLow, kHigh};
    }
  }

  void collect() {
    collector_.begin({0, 1000});
    for (Kept& kept : lanes_)
      collector_.expect({kept.record.key, kept.record.ref, kept.record.range}, *kept.lane);
    std::uint64_t records = 0;
    for (const SyntheticDump::Buffer& buffer : table_.dump().buffers()) {
      const auto parsed =
          kernel::parse_sock_diag(buffer.data(), buffer.size(), SyntheticDump::kSequence,
                                  [&](const auto& socket) { collector_.add(socket); });
      ASSERT_EQ(parsed.error, 0);
      records += parsed.records;
    }
    ASSERT_EQ(records, kSockets);
  }

  // Every port is claimable exactly when no socket has it, and in quarantine when it waits.
  void expect_true() {
    for (Kept& kept : lanes_) {
      const PortSet free = free_ports(*kept.lane);
      const PortSet waiting = ports_in(*kept.lane, PortMapId::quarantine);
      std::size_t wrong = 0;
      for (std::uint32_t port = kLow; port <= kHigh; ++port) {
        const auto number = static_cast<std::uint16_t>(port);
        const Use use = table_.use(kept.source, kept.destination, number);
        wrong += free.contains(number) != (use == Use::none) ? 1 : 0;
        wrong += waiting.contains(number) != (use == Use::waiting) ? 1 : 0;
      }
      EXPECT_EQ(wrong, 0U) << kept.source << " -> " << kept.destination;
    }
  }

  Table table_{20261121};
  TruthCollector collector_;
  BlockedPorts blocked_;
  std::deque<Kept> lanes_;
};

TEST_F(MillionSockets, NewLanesStartWithTheTruth) {
  collect();
  for (Kept& kept : lanes_) {
    fill_lane(*kept.lane, kept.record, *collector_.find(kept.record.key), blocked_);
  }
  expect_true();
}

TEST_F(MillionSockets, LanesThatKnewNothingComeTrue) {
  collector_.begin({0, 1000});
  for (Kept& kept : lanes_) {
    collector_.expect({kept.record.key, kept.record.ref, kept.record.range}, *kept.lane);
    fill_lane(*kept.lane, kept.record, *collector_.find(kept.record.key), blocked_);
  }
  collect();
  for (Kept& kept : lanes_) {
    update_lane(*kept.lane, kept.record, *collector_.find(kept.record.key), blocked_);
  }
  expect_true();
}

}  // namespace
}  // namespace portpool::test
