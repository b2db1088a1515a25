// Supply marks: with fail-fast they decide about an error, so no hint makes a lane full.
#include "lanes/supply.h"

#include <gtest/gtest.h>

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
    supply_.note(info_, *hints_, record_, &truth_, blocked_);
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
  supply_.note(info_, *hints_, record_, nullptr, blocked_);
  EXPECT_NE(info_.full.load(), 0U);
  put_port(free_map(*hints_, 0), kRange.low);
  supply_.note(info_, *hints_, record_, nullptr, blocked_);
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
  EXPECT_EQ(info_.crowded.load(), 0U);
  use(kRange.low + 47, kRange.low + 47);
  pass();
  EXPECT_EQ(info_.crowded.load(), 1U);
}

// A port that another lane uses has a user, too.
TEST_F(SupplyMarks, CrowdedByOthers) {
  PortBits other = {};
  other[first_word(kRange)] = other[last_word(kRange)] = ~std::uint64_t{0};
  supply_.begin(true);
  supply_.add(taken_);
  supply_.add(other);
  supply_.note(info_, *hints_, record_, &truth_, blocked_);
  EXPECT_EQ(info_.crowded.load(), 1U);
  EXPECT_EQ(info_.full.load(), 0U);
}

}  // namespace
}  // namespace portpool::test
