// A lane's maps, with every order of the steps of claims, releases and a reconcile: nothing is
// lost, and nothing is given to two.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "lanes/lane_update.h"
#include "model/machine.h"
#include "portpool/port_map.h"

namespace portpool::model {
namespace {

// Two words, one of even ports and one of odd ones.
constexpr PortRange kRange{1024, 1027};
const LaneKey kKey{address_from_v4({htonl(0x0A000001)}), address_from_v4({htonl(0x0A000002)}), 80};

class Lane {
 public:
  Lane() : hints_(std::make_unique<LaneHints>()) {}

  // All in the oldest map but those of `elsewhere`; releases go to another map.
  void reset(const std::set<std::uint16_t>& elsewhere, FreeRing ring = {0, 3}) {
    for (auto& top : hints_->top) top = 0;
    for (auto& map : hints_->mid) {
      for (auto& mid : map) mid = 0;
    }
    for (std::uint32_t word = first_word(kRange); word <= last_word(kRange); ++word) {
      for (auto& map : hints_->words) map[word] = 0;
    }
    for (auto& ages : hints_->ring) ages = ring.pack();
    for (std::uint16_t port = kRange.low; port <= kRange.high; ++port) {
      holder_[port - kRange.low] = elsewhere.contains(port) ? 1 : 0;
      if (!elsewhere.contains(port)) put_port(free_map(*hints_, ring.oldest), port);
    }
    record = LaneRecord{};
    record.key = kKey;
    record.range = kRange;
  }

  LaneHints& hints() { return *hints_; }

  // A port that a claim has yielded; `port` is -1 where it has none.
  void took(int port) {
    if (port < 0) return;
    if (!kRange.contains(static_cast<std::uint32_t>(port))) return violate("a port of no lane");
    if (holder_[port - kRange.low]++ != 0) violate("given twice: " + std::to_string(port));
  }
  void gives_back(std::uint16_t port) {
    --holder_[port - kRange.low];
    release(hints(), port);
  }
  // One that nobody holds, and that stands nowhere: a process that died had it.
  void leak(std::uint16_t port) { holder_[port - kRange.low] = 0; }

  // Whoever comes now gets each port that nobody holds, and no other.
  std::string check() {
    std::set<int> left;
    for (int port; (port = claim_free(hints(), Parity::even, 1)) >= 0;) {
      if (!left.insert(port).second) return "in two places: " + std::to_string(port);
    }
    for (int port = kRange.low; port <= kRange.high; ++port) {
      const bool held = holder_[port - kRange.low] != 0;
      if (held && left.contains(port)) return "given twice: " + std::to_string(port);
      if (!held && !left.contains(port)) return "lost: " + std::to_string(port);
    }
    return {};
  }

  LaneRecord record;

 private:
  std::unique_ptr<LaneHints> hints_;
  int holder_[kRange.high - kRange.low + 1] = {};
};

Lane& lane() {
  static Lane one;
  return one;
}

// The kernel has no socket of the lane, and poold looks while the others go on.
void reconcile() {
  static const BlockedPorts blocked;
  TruthCollector truth;
  truth.begin({});
  truth.expect({kKey, {}, kRange}, lane().hints());
  update_lane(lane().hints(), lane().record, *truth.find(kKey), blocked);
}

std::function<void()> claimer(Parity first, std::uint64_t random) {
  return [=] { lane().took(claim_free(lane().hints(), first, random)); };
}
std::function<void()> releaser(std::uint16_t port) {
  return [=] { lane().gives_back(port); };
}
std::function<void()> taker(std::uint64_t random) {
  return [=] { lane().took(take_port(free_map(lane().hints(), 0), Parity::even, random)); };
}
std::function<void()> putter(std::uint16_t port) {
  return [=] { lane().gives_back(port); };
}

void expect_sound(const Outcome& outcome) {
  EXPECT_EQ(outcome.violation, "") << testing::PrintToString(outcome.schedule);
  EXPECT_GT(outcome.states, 10U);
  testing::Test::RecordProperty("states", std::to_string(outcome.states));
}

TEST(PortMapModel, TwoClaimersAndARelease) {
  const Scenario scenario{[] { lane().reset({1026}); },
                          {claimer(Parity::even, 5), claimer(Parity::even, 5), releaser(1026)},
                          [] { return lane().check(); }};
  expect_sound(explore(scenario, Memory::sequential));
}

TEST(PortMapModel, TwoClaimersOfTheLastPortsAndARelease) {
  const Scenario scenario{[] {
                            lane().reset({1024, 1025, 1027});
                          },
                          {claimer(Parity::even, 5), claimer(Parity::odd, 9), releaser(1024)},
                          [] { return lane().check(); }};
  expect_sound(explore(scenario, Memory::sequential));
}

// A reconcile looks at each word many times: in every order with one or two others, and with all of
// them in every order with so many interruptions.
Scenario with_reconcile(std::set<std::uint16_t> elsewhere,
                        std::vector<std::function<void()>> others, int interruptions) {
  others.emplace_back(reconcile);
  return {[=] { lane().reset(elsewhere); }, others, [] { return lane().check(); }, interruptions};
}

TEST(PortMapModel, AClaimerAndAReconcile) {
  expect_sound(explore(with_reconcile({1025}, {claimer(Parity::even, 5)}, -1), Memory::sequential));
}

TEST(PortMapModel, AReleaseAndAReconcile) {
  expect_sound(explore(with_reconcile({1024}, {releaser(1024)}, -1), Memory::sequential));
}

TEST(PortMapModel, TwoClaimersAReleaseAndAReconcile) {
  expect_sound(
      explore(with_reconcile(
                  {1024}, {claimer(Parity::even, 5), claimer(Parity::even, 5), releaser(1024)}, 2),
              Memory::sequential));
}

// Seen once before in no map and no socket: this pass makes it free.
TEST(PortMapModel, AReconcileReturnsALeakedPortOnceAndNoneThatIsJustClaimed) {
  Scenario scenario =
      with_reconcile({1024, 1027}, {claimer(Parity::odd, 5), claimer(Parity::odd, 5)}, 2);
  scenario.reset = [] {
    lane().reset({1024, 1027});
    lane().leak(1027);
    lane().record.suspect.set_word(word_of_port(1027), bit_of_port(1027));
  };
  expect_sound(explore(scenario, Memory::sequential));
}

// On a machine that orders nothing by itself: one map, whose word runs empty and is filled.
TEST(PortMapModel, TakersAndAPutterOnWeakMemory) {
  const FreeRing one_map{0, 0};
  const Scenario scenario{[=] {
                            lane().reset({1026, 1025, 1027}, one_map);
                          },
                          {taker(5), taker(5), putter(1026)},
                          [] { return lane().check(); }};
  expect_sound(explore(scenario, Memory::weak));
}

TEST(PortMapModel, FindsAClaimByLoadAndStore) {
  const Scenario scenario{[] { lane().reset({}); },
                          {claimer(Parity::even, 5), claimer(Parity::even, 5)},
                          [] { return lane().check(); }};
  expect_sound(explore(scenario, Memory::sequential));
  EXPECT_NE(explore(scenario, Memory::sequential, Mutation::torn).violation.find("given twice"),
            std::string::npos);
}

TEST(PortMapModel, FindsThatChangesHaveToBeOrdered) {
  const FreeRing one_map{0, 0};
  const Scenario scenario{[=] {
                            lane().reset({1026, 1025, 1027}, one_map);
                          },
                          {taker(5), putter(1026)},
                          [] { return lane().check(); }};
  expect_sound(explore(scenario, Memory::weak));
  EXPECT_EQ(explore(scenario, Memory::weak, Mutation::relaxed_changes).violation, "lost: 1026");
}

}  // namespace
}  // namespace portpool::model
