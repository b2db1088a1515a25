#include "lanes/rule_review.h"

#include <gtest/gtest.h>

namespace portpool::test {
namespace {

using Sentences = std::vector<std::string>;

std::string never(const char* pool, const char* first) {
  return std::string("pool \"") + pool + "\" never applies: what it is for falls to pool \"" +
         first + "\", before it";
}

PoolRule pool(const char* name, const std::vector<const char*>& destinations,
              const std::vector<const char*>& exclude = {}) {
  PoolRule rule;
  rule.name = name;
  for (const char* text : destinations) {
    rule.destinations.push_back(parse_destination(text).value());
  }
  for (const char* text : exclude) rule.exclude.push_back(parse_destination(text).value());
  return rule;
}

// With the implicit last rule behind them.
std::vector<std::string> review(std::vector<PoolRule> rules) {
  rules.emplace_back();
  return review_of(rules);
}

TEST(RuleReview, NothingToSay) {
  EXPECT_EQ(review({}), Sentences{});
  EXPECT_EQ(review({pool("a", {})}), Sentences{});
  EXPECT_EQ(review({pool("narrow", {"10.0.4.0/24:443"}), pool("wide", {"10.0.0.0/8"}),
                    pool("v6", {"[::]/0"}), pool("rest", {})}),
            Sentences{});
  EXPECT_EQ(review({pool("one port", {"10.0.0.0/8:443"}), pool("others", {"10.0.0.0/8"})}),
            Sentences{});
  EXPECT_EQ(review({pool("v4", {"0.0.0.0/0"}), pool("v6", {"2001:db8::1"})}), Sentences{});
}

TEST(RuleReview, NamesThatStandForTwo) {
  EXPECT_EQ(
      review({pool("a", {"10.0.0.1"}), pool("b", {"10.0.0.2"}), pool("a", {"10.0.0.3"})}),
      Sentences{"two pools are called \"a\", and cannot be told apart in status and metrics"});
}

TEST(RuleReview, PoolsThatNeverApply) {
  EXPECT_EQ(review({pool("wide", {"10.0.0.0/8"}), pool("narrow", {"10.0.4.0/24:443"})}),
            Sentences{never("narrow", "wide")});
  EXPECT_EQ(review({pool("all", {}), pool("b", {"10.0.0.1"}), pool("c", {})}),
            (Sentences{never("b", "all"), never("c", "all")}));
  EXPECT_EQ(review({pool("a", {"10.0.0.1"}), pool("twin", {"10.0.0.1"})}),
            Sentences{never("twin", "a")});
  EXPECT_EQ(
      review({pool("a", {"10.0.0.1"}), pool("b", {"::1"}), pool("both", {"::1", "10.0.0.1"})}),
      Sentences{"pool \"both\" never applies: what it is for falls to pool \"b\" and others, "
                "before it"});
}

TEST(RuleReview, DestinationsThatFallToAnother) {
  EXPECT_EQ(
      review({pool("wide", {"10.0.0.0/8"}), pool("b", {"10.0.4.0/24:443", "[::1]:80"})}),
      Sentences{"10.0.4.0/24:443 of pool \"b\" falls to pool \"wide\", which stands before it"});
}

TEST(RuleReview, WhatARuleLeavesOutIsNotTaken) {
  EXPECT_EQ(review({pool("wide", {"10.0.0.0/8"}, {"10.0.4.7"}), pool("b", {"10.0.4.0/24"})}),
            Sentences{});
  EXPECT_EQ(
      review({pool("wide", {"10.0.0.0/8"}, {"10.0.4.0/24:80"}), pool("b", {"10.0.4.0/24:443"})}),
      Sentences{never("b", "wide")});
  EXPECT_EQ(review({pool("all but", {}, {"10.0.0.1"}), pool("that", {"10.0.0.1"})}), Sentences{});
}

}  // namespace
}  // namespace portpool::test
