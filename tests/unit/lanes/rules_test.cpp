#include "lanes/rules.h"

#include <gtest/gtest.h>

namespace portpool::test {
namespace {

struct Form {
  const char* text;
  const char* base;
  unsigned bits;
  std::uint16_t port;
};

TEST(ParseDestination, TakesAllForms) {
  for (const Form& form : {
           Form{"10.0.0.1", "10.0.0.1", 128, 0},
           Form{"10.0.0.1:443", "10.0.0.1", 128, 443},
           Form{"10.0.4.0/24", "10.0.4.0", 120, 0},
           Form{"10.0.4.0/24:443", "10.0.4.0", 120, 443},
           Form{"0.0.0.0/0", "0.0.0.0", 96, 0},
           Form{"0.0.0.0/0:65535", "0.0.0.0", 96, 65535},
           Form{"2001:db8::1", "2001:db8::1", 128, 0},
           Form{"2001:db8::", "2001:db8::", 128, 0},
           Form{"2001:db8::/32", "2001:db8::", 32, 0},
           Form{"::", "::", 128, 0},
           Form{"::1", "::1", 128, 0},
           Form{"[2001:db8::1]", "2001:db8::1", 128, 0},
           Form{"[2001:db8::]", "2001:db8::", 128, 0},
           Form{"[2001:db8::1]:1", "2001:db8::1", 128, 1},
           Form{"[2001:db8::]/32", "2001:db8::", 32, 0},
           Form{"[2001:db8::]/32:8443", "2001:db8::", 32, 8443},
           Form{"[::]:80", "::", 128, 80},
           Form{"::ffff:10.0.0.1", "10.0.0.1", 128, 0},
           Form{"[::ffff:10.0.0.1]:80", "10.0.0.1", 128, 80},
       }) {
    const auto pattern = parse_destination(form.text);
    ASSERT_TRUE(pattern) << form.text;
    EXPECT_EQ(to_text(pattern->prefix.base), form.base) << form.text;
    EXPECT_EQ(pattern->prefix.bits, form.bits) << form.text;
    const auto again = parse_destination(to_text(*pattern));
    ASSERT_TRUE(again) << to_text(*pattern);
    EXPECT_EQ(to_text(*again), to_text(*pattern));
    EXPECT_EQ(again->prefix.base, pattern->prefix.base);
    EXPECT_EQ(again->prefix.bits, pattern->prefix.bits);
    EXPECT_EQ(again->port, pattern->port);
    EXPECT_EQ(pattern->port, form.port) << form.text;
  }
}

TEST(ParseDestination, RefusesWhatIsNone) {
  for (const char* text : {"",
                           ":",
                           ":80",
                           "10.0.0.1:",
                           "10.0.0.1:0",
                           "10.0.0.1:65536",
                           "10.0.0.1:x",
                           "10.0.0.1:80x",
                           "10.0.0.1: 80",
                           "10.0.0.1:+80",
                           "10.0.0.1:-1",
                           "10.0.0.1:80:80",
                           "10.0.0.1::",
                           "10.0.0.1/24",
                           "10.0.0.0/33:80",
                           "10.0.0.0:80/24",
                           "10.0.0.0/24:443-445",
                           "example.com:443",
                           "*:443",
                           "[2001:db8::1",
                           "2001:db8::1]",
                           "[]",
                           "[]:80",
                           "[2001:db8::1]:",
                           "[2001:db8::1]:0",
                           "[2001:db8::1]:99999",
                           "[2001:db8::1/64]:80",
                           "[2001:db8::]/32:",
                           "[2001:db8::]/129",
                           "2001:db8::/32:443",
                           "[2001:db8::1]x",
                           "[2001:db8::1] :80",
                           "[[::1]]:80"}) {
    EXPECT_FALSE(parse_destination(text)) << text;
  }
}

// Once: what follows the bracket is joined to what stands in it ("[2001:db8::1]2" is read as
// 2001:db8::12), and a text that ends in "::" is not looked at for a port.
TEST(ParseDestination, RefusesTextBetweenBracketAndPort) {
  for (const char* text :
       {"[2001:db8::1]2", "[2001:db8::1]2:443", "[2001:db8::]1/128", "[::1]::", "[::1]:80::"}) {
    EXPECT_FALSE(parse_destination(text)) << text;
  }
}

DestinationPattern pattern(const char* text) { return parse_destination(text).value(); }
Endpoint endpoint(const char* address, std::uint16_t port) {
  return {parse_address(address).value(), port};
}

TEST(DestinationPattern, MatchesPrefixAndPort) {
  EXPECT_TRUE(pattern("10.0.4.0/24").matches(endpoint("10.0.4.9", 1)));
  EXPECT_TRUE(pattern("10.0.4.0/24:443").matches(endpoint("10.0.4.9", 443)));
  EXPECT_FALSE(pattern("10.0.4.0/24:443").matches(endpoint("10.0.4.9", 444)));
  EXPECT_FALSE(pattern("10.0.4.0/24:443").matches(endpoint("10.0.5.9", 443)));
}

TEST(RuleFor, TheFirstThatMatchesElseTheLast) {
  std::vector<PoolRule> rules(3);
  rules[0].destinations = {pattern("10.0.4.0/24:443"), pattern("10.9.0.0/16")};
  rules[1].destinations = {pattern("10.0.0.0/8")};
  EXPECT_EQ(rule_for(rules, endpoint("10.0.4.1", 443)), 0U);
  EXPECT_EQ(rule_for(rules, endpoint("10.9.1.1", 80)), 0U);
  EXPECT_EQ(rule_for(rules, endpoint("10.0.4.1", 80)), 1U);
  EXPECT_EQ(rule_for(rules, endpoint("192.0.2.1", 80)), 2U);
  EXPECT_EQ(rule_for(rules, endpoint("2001:db8::1", 443)), 2U);
}

TEST(RuleFor, ARuleWithoutDestinationsMatchesEverything) {
  std::vector<PoolRule> rules(2);
  EXPECT_EQ(rule_for(rules, endpoint("192.0.2.1", 80)), 0U);
  rules.resize(1);
  EXPECT_EQ(rule_for(rules, endpoint("192.0.2.1", 80)), 0U);
}

TEST(RuleFor, PromisesAreForTheSourceElseForEveryDestination) {
  std::vector<PoolRule> rules(4);
  rules[0].destinations = {pattern("10.0.0.0/8")};
  rules[1].destinations = {pattern("192.0.2.0/24")};
  rules[1].source_entries = {*parse_prefix("10.0.0.8/30")};
  const auto rule = [&](const char* source) {
    return rule_for_promises(rules, *parse_address(source));
  };
  EXPECT_EQ(rule("10.0.0.9"), 1U);
  EXPECT_EQ(rule("10.0.0.1"), 2U);
  EXPECT_EQ(rule("0.0.0.0"), 2U);
  rules[2].destinations = {pattern("10.0.0.0/8")};
  EXPECT_EQ(rule("10.0.0.1"), 3U);
}

}  // namespace
}  // namespace portpool::test
