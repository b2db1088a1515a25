// Supply marks: with fail-fast they decide about an error, so no hint makes a lane full.
#include "lanes/supply.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "portpool/bound_ports.h"
#include "unit/contract/lane_memory.h"

namespace portpool::test {
namespace {

constexpr PortRange kRange{40000, 40063};

class SupplyMarks : public ::testing::Test {
 protected:
  SupplyMarks() { record_.range = kRange; }
  void use(std::uint16_t low, std::uint16_t high) {
    for (std::uint32_t number = low; number <= high; ++number) {
      const auto port = static_cast<std::uint16_t>(number);
      truth_.word_to_write(word_of_port(port)).used |= bit_of_port(port);
      taken_[word_of_port(port)] |= bit_of_port(port);
    }
  }
  void pass() {
    supply_.begin(true);
    supply_.add(taken_);
    supply_.note(info_, *hints_, record_, &truth_, blocked_, false);
  }

  LaneInfo info_{};
  std::unique_ptr<LaneHints> hints_ = make_lane();
  LaneRecord record_;
  LaneTruth truth_{{{}, {}, kRange}};
  PortBits taken_ = {};
  BlockedPorts blocked_;
  Supply supply_;
};

TEST_F(SupplyMarks, NoHintMakesALaneFull) {
  pass();  // not a port in any map, but the kernel uses none
  EXPECT_EQ(info_.full.load(), 0U);
  EXPECT_EQ(info_.low.load(), 1U);
}

TEST_F(SupplyMarks, FullByTheKernelsTable) {
  use(kRange.low, kRange.high);
  pass();
  const std::uint32_t finding = info_.full.load();
  EXPECT_NE(finding, 0U);
  pass();
  EXPECT_NE(info_.full.load(), 0U);
  EXPECT_NE(info_.full.load(), finding) << "another finding";
  supply_.note(info_, *hints_, record_, nullptr, blocked_, false);
  EXPECT_NE(info_.full.load(), 0U);
  put_port(free_map(*hints_, 0), kRange.low);
  supply_.note(info_, *hints_, record_, nullptr, blocked_, false);
  EXPECT_EQ(info_.full.load(), 0U) << "a port has come back";
}

TEST_F(SupplyMarks, OnePortLeftIsNotFull) {
  use(kRange.low, kRange.high - 1);
  pass();
  EXPECT_EQ(info_.full.load(), 0U);
}

TEST_F(SupplyMarks, CrowdedFromThreeQuartersOn) {
  use(kRange.low, kRange.low + 46);
  pass();
  EXPECT_EQ(info_.crowding.load(), 0U);
  use(kRange.low + 47, kRange.low + 47);
  pass();
  EXPECT_EQ(info_.crowding.load(), Crowding::crowded);
}

// A port that another lane uses has a user, too.
TEST_F(SupplyMarks, CrowdedByOthers) {
  PortBits other = {};
  other[first_word(kRange)] = other[last_word(kRange)] = ~std::uint64_t{0};
  supply_.begin(true);
  supply_.add(taken_);
  supply_.add(other);
  supply_.note(info_, *hints_, record_, &truth_, blocked_, false);
  EXPECT_EQ(info_.crowding.load(), Crowding::crowded);
  EXPECT_EQ(info_.full.load(), 0U);
}

TEST_F(SupplyMarks, ExposedWhateverIsKnownOfTheKernelsTable) {
  use(kRange.low, kRange.high);
  pass();
  supply_.note(info_, *hints_, record_, nullptr, blocked_, true);
  EXPECT_EQ(info_.crowding.load(), Crowding::crowded | Crowding::exposed);
  supply_.note(info_, *hints_, record_, nullptr, blocked_, false);
  EXPECT_EQ(info_.crowding.load(), Crowding::crowded);
}

// What a client has bound since the dump stays; what two passes have not seen goes.
TEST_F(SupplyMarks, BoundPortsFollowTheKernelsTable) {
  const auto bound = std::make_unique<BoundPorts>();
  const auto pass_of = [&](const std::vector<std::uint16_t>& ports) {
    PortBits taken = {};
    for (const std::uint16_t port : ports) taken[word_of_port(port)] |= bit_of_port(port);
    supply_.begin(true);
    supply_.add(taken);
    supply_.note_bound(*bound);
  };
  const auto has = [&](std::uint16_t port) {
    return (bound->words[word_of_port(port)] & bit_of_port(port)) != 0;
  };
  note_bound(*bound, 40000);
  note_bound(*bound, 40000);
  pass_of({40000, 40001});
  EXPECT_EQ(bound->count, 1U) << "40001 is the kernel's choice";
  note_bound(*bound, 40001);
  note_bound(*bound, 40002);
  EXPECT_EQ(bound->count, 3U);
  pass_of({40001});
  EXPECT_EQ(bound->count, 3U);
  EXPECT_TRUE(has(40000) && has(40001) && has(40002));
  pass_of({40001});
  EXPECT_EQ(bound->count, 1U);
  EXPECT_TRUE(has(40001) && !has(40000) && !has(40002));
}

TEST(BoundPorts, ClaimsWhatIsFreeInTheLaneAndBound) {
  const auto lane = std::make_unique<LaneHints>();
  const auto bound = std::make_unique<BoundPorts>();
  constexpr PortRange kSome{20000, 29999};
  for (auto& ring : lane->ring) ring = FreeRing{0, 3}.pack();
  EXPECT_EQ(claim_bound(*lane, *bound, kSome, 1), -1);
  for (const std::uint16_t port : std::vector<std::uint16_t>{20001, 25000, 29999, 30001})
    note_bound(*bound, port);
  EXPECT_EQ(claim_bound(*lane, *bound, kSome, 1), -1) << "none is free";
  for (const std::uint16_t port : std::vector<std::uint16_t>{20001, 25000, 25002})
    put_port(free_map(*lane, 0), port);
  put_port(free_map(*lane, 2), 29999);
  std::set<int> claimed;
  std::vector<int> order;
  for (std::uint64_t i = 0; i < 3; ++i) {
    order.push_back(claim_bound(*lane, *bound, kSome, detail::next_random(i)));
    claimed.insert(order.back());
  }
  EXPECT_EQ(claimed, (std::set<int>{20001, 25000, 29999}));
  EXPECT_EQ(order.back(), 29999) << "the youngest last";
  EXPECT_EQ(claim_bound(*lane, *bound, kSome, 1), -1) << "25002 is bound by nobody";
}

}  // namespace
}  // namespace portpool::test
