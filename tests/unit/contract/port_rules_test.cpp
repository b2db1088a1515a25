// The table that tells programs which range a connection must not leave.
#include "portpool/port_rules.h"

#include <gtest/gtest.h>

#include "base/address_text.h"
#include "lanes/rules.h"
#include "lanes/segment.h"

namespace portpool::test {
namespace {

constexpr PortRange kRange{40000, 40099};
constexpr PortRange kOther{41000, 41099};

class RequiredRange : public ::testing::Test {
 protected:
  RequiredRange() : segment_({.lanes = 1, .shards = 1}, {.cookie = 11, .inode = 22}) {
    segment_.publish();
    rules_.push_back({});
  }

  PoolRule& add(const std::vector<std::string>& destinations) {
    PoolRule rule;
    for (const std::string& text : destinations) {
      rule.destinations.push_back(*parse_destination(text));
    }
    return *rules_.insert(rules_.end() - 1, rule);
  }
  static void refuse(PoolRule& rule, PortRange range) {
    rule.outside_range = OutsideRange::refuse;
    rule.port_range = range;
  }
  PortRange of(const std::string& address, std::uint16_t port = 443) {
    segment_.set_port_rules(port_rules(rules_));
    return required_range(segment_.view(), {*parse_address(address), port});
  }

  Segment segment_;
  std::vector<PoolRule> rules_;
};

TEST_F(RequiredRange, NoneWithoutSuchARule) {
  add({"10.0.0.0/8"}).port_range = kRange;
  EXPECT_TRUE(of("10.0.0.1").empty());
  EXPECT_EQ(segment_.view().port_rules()->count, 0U);
}

TEST_F(RequiredRange, OfTheFirstRuleThatMatches) {
  add({"10.0.7.0/24"});
  refuse(add({"10.0.0.0/8:443", "[2001:db8::]/33"}), kRange);
  refuse(add({"10.0.0.0/8", "10.0.0.1"}), kOther);
  EXPECT_TRUE(of("10.0.7.9").empty()) << "an earlier rule";
  EXPECT_EQ(of("10.0.8.9"), kRange);
  EXPECT_EQ(of("10.0.8.9", 80), kOther) << "another port";
  EXPECT_TRUE(of("11.0.0.1").empty());
  EXPECT_EQ(of("2001:db8:7fff:ffff::1"), kRange);
  EXPECT_TRUE(of("2001:db8:8000::1").empty()) << "one bit";
  EXPECT_TRUE(of("::10.0.8.9").empty()) << "not the same address as a mapped one";
}

TEST_F(RequiredRange, EveryDestinationOfARuleThatNamesNone) {
  refuse(add({}), kRange);
  for (const char* address : {"10.0.0.1", "2001:db8::1", "::1"}) EXPECT_EQ(of(address), kRange);
}

TEST_F(RequiredRange, WhatARuleLeavesOutFallsToTheNext) {
  PoolRule& first = add({"10.0.0.0/8"});
  refuse(first, kRange);
  first.exclude = {*parse_destination("10.0.7.0/24"), *parse_destination("10.0.0.0/8:25")};
  refuse(add({"10.0.7.1"}), kOther);
  EXPECT_EQ(of("10.0.0.1"), kRange);
  EXPECT_EQ(of("10.0.7.1"), kOther);
  EXPECT_TRUE(of("10.0.7.2").empty());
  EXPECT_TRUE(of("10.0.0.1", 25).empty());
}

// Rows that nobody can have written so are no trouble.
TEST_F(RequiredRange, DamagedRowsAreNoTrouble) {
  refuse(add({"10.0.0.1"}), kRange);
  ASSERT_EQ(of("10.0.0.1"), kRange);
  PortRules& table = segment_.writer().port_rules();
  table.count = ~0U;
  table.rows[0].kind = ~0U;
  EXPECT_TRUE(required_range(segment_.view(), {*parse_address("10.0.0.2"), 443}).empty());
  table.sequence = 1;
  EXPECT_TRUE(required_range(segment_.view(), {*parse_address("10.0.0.1"), 443}).empty());
}

}  // namespace
}  // namespace portpool::test
