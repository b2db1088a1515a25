// A lane as programs use it: what a wrong hint and an old reference lead to.
#include "portpool/lane.h"

#include <gtest/gtest.h>

#include "base/address_text.h"
#include "lanes/lane_table.h"
#include "lanes/segment.h"

namespace portpool::test {
namespace {

constexpr PortRange kRange{40000, 40009};

class LaneUse : public ::testing::Test {
 protected:
  LaneUse() : segment_(made()), table_(segment_.writer()) { record_ = add(443, kRange); }

  static Segment made() {
    Segment segment({.lanes = 2, .shards = 1}, {});
    segment.publish();
    return segment;
  }

  LaneRecord* add(std::uint16_t destination_port, PortRange range) {
    return table_.add({*parse_address("10.0.0.9"), *parse_address("10.0.0.1"), destination_port}, 0,
                      range);
  }
  LaneHints& hints() { return table_.hints(*record_); }
  void offer(std::uint32_t port) {
    put_port(free_map(hints(), 0), static_cast<std::uint16_t>(port));
  }
  Claim claim(Port& port) {
    return claim_port(segment_.view(), record_->ref, Offer::any, Parity::even, 1, port);
  }

  Segment segment_;
  LaneTable table_;
  LaneRecord* record_ = nullptr;
};

TEST_F(LaneUse, GivesAPortOfItsRange) {
  Port port;
  EXPECT_EQ(claim(port), Claim::empty);
  offer(40003);
  ASSERT_EQ(claim(port), Claim::port);
  EXPECT_EQ(port.number(), 40003);
  EXPECT_EQ(claim(port), Claim::empty);
}

// Whoever may attach can set any bit.
TEST_F(LaneUse, NoPortOutsideItsRangeIsGiven) {
  for (const int number : {1, 22, 1023, 1024, 39999, 40010, 65535}) {
    offer(static_cast<std::uint32_t>(number));
    Port port;
    EXPECT_EQ(claim(port), Claim::wrong) << number;
    EXPECT_EQ(port.number(), 0) << number;
  }
}

TEST_F(LaneUse, NoPrivilegedPortIsGivenWhateverTheRange) {
  table_.set_range(*record_, 0, {1, 2000});
  for (const int number : {1, 22, 512, 1023}) {
    offer(static_cast<std::uint32_t>(number));
    Port port;
    EXPECT_EQ(claim(port), Claim::wrong) << number;
  }
  offer(1024);
  Port port;
  EXPECT_EQ(claim(port), Claim::port);
}

TEST_F(LaneUse, NoSocketIsLedToItself) {
  const Address here = *parse_address("127.0.0.1");
  const LaneRecord* to_itself = table_.add({here, here, 40003}, 0, kRange);
  ASSERT_NE(to_itself, nullptr);
  for (const std::uint16_t number : {std::uint16_t{40003}, std::uint16_t{40004}}) {
    put_port(free_map(table_.hints(*to_itself), 0), number);
    Port port;
    EXPECT_EQ(claim_port(segment_.view(), to_itself->ref, Offer::any, Parity::even, 1, port),
              number == 40003 ? Claim::wrong : Claim::port);
    EXPECT_EQ(port.number(), number == 40003 ? 0 : number);
  }
}

TEST_F(LaneUse, AnotherHostsPortIsAPortLikeOthers) {
  record_ = add(40003, kRange);
  offer(40003);
  Port port;
  EXPECT_EQ(claim(port), Claim::port);
}

// A program that was stopped between look-up and claim.
TEST_F(LaneUse, AnOldReferenceLeavesTheLaneAlone) {
  const LaneRef old{record_->ref.index,
                    record_->ref.generation == 1 ? 2 : record_->ref.generation - 1};
  offer(40003);
  Port port;
  EXPECT_EQ(claim_port(segment_.view(), old, Offer::any, Parity::even, 1, port), Claim::gone);
  LaneIdentity lane;
  EXPECT_FALSE(read_lane(segment_.view(), old, lane));
  EXPECT_EQ(claim(port), Claim::port) << "the port went back";
}

TEST_F(LaneUse, ARetiredLaneIsGone) {
  const LaneRef ref = record_->ref;
  ASSERT_NE(add(444, kRange), nullptr);
  segment_.header().heartbeat += 1000;
  for (std::uint32_t port = kRange.low; port <= kRange.high; ++port) {
    offer(port);
  }
  table_.retire(*record_);
  Port port;
  EXPECT_EQ(claim_port(segment_.view(), ref, Offer::any, Parity::even, 1, port), Claim::gone);
  EXPECT_FALSE(in_service(segment_.view(), ref));
}

// Somebody wrote there: it does not keep the lane's place for ever.
TEST_F(LaneUse, ALaneUsedInTheTimeToComeIsUsedNow) {
  hints().last_used_beat = ~std::uint64_t{0};
  EXPECT_EQ(table_.beats_unused(*record_), 0U);
  segment_.header().heartbeat += 1000;
  EXPECT_EQ(table_.beats_unused(*record_), 1000U);
}

TEST(LaneRef, NoLaneIsNeverInService) {
  Segment segment({.lanes = 2, .shards = 1}, {});
  segment.publish();
  EXPECT_FALSE(in_service(segment.view(), LaneRef{}));
  EXPECT_FALSE(in_service(segment.view(), LaneRef::unpack(0)));
}

TEST(LaneRef, GoesThroughOneWord) {
  for (const LaneRef ref :
       {LaneRef{0, 1}, LaneRef{kMaxLanes - 1, LaneRef::kGenerations - 1}, LaneRef{1234, 56789}}) {
    EXPECT_EQ(LaneRef::unpack(ref.pack()), ref);
  }
}

}  // namespace
}  // namespace portpool::test
