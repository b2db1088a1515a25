#include "base/address_text.h"

#include <gtest/gtest.h>

namespace portpool::test {
namespace {

Address address(const char* text) {
  const auto parsed = parse_address(text);
  EXPECT_TRUE(parsed) << text;
  return parsed.value_or(Address{});
}

AddressPrefix prefix(const char* text) {
  const auto parsed = parse_prefix(text);
  EXPECT_TRUE(parsed) << text;
  return parsed.value_or(AddressPrefix{});
}

TEST(AddressText, WritesAndReadsBothFamilies) {
  for (const char* text : {"10.0.0.5", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1",
                           "fe80::1:2:3:4", "1:2:3:4:5:6:7:8"}) {
    EXPECT_EQ(to_text(address(text)), text);
  }
}

TEST(AddressText, AMappedAddressIsWrittenAsV4) {
  EXPECT_EQ(to_text(address("::ffff:10.0.0.5")), "10.0.0.5");
  EXPECT_EQ(to_text(address("2001:DB8:0:0::1")), "2001:db8::1");
}

TEST(AddressText, EndpointsHaveBracketsForV6) {
  EXPECT_EQ(to_text(Endpoint{address("10.0.0.5"), 80}), "10.0.0.5:80");
  EXPECT_EQ(to_text(Endpoint{address("2001:db8::1"), 65535}), "[2001:db8::1]:65535");
  EXPECT_EQ(to_text(Endpoint{}), "[::]:0");
}

TEST(AddressText, ReadsEndpoints) {
  for (const char* text : {"10.0.0.5:80", "0.0.0.0:1", "[2001:db8::1]:65535", "[::]:9481"}) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(to_text(*endpoint), text);
  }
  for (const char* text :
       {"", ":", "10.0.0.5", "10.0.0.5:", ":80", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0.5:8O",
        "10.0.0.5:80 ", "10.0.0.5:+80", "10.0.0.0/24:80", "::1:80", "[::1]", "[::1]80", "[::1:80",
        "::1]:80", "[10.0.0.5]:80", "[]:80", "localhost:80"}) {
    EXPECT_FALSE(parse_endpoint(text)) << text;
  }
}

TEST(AddressText, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", " ", "10.0.0", "10.0.0.256", "10.0.0.5 ", " 10.0.0.5", "10.0.0.5:80", "[::1]", "::1%lo",
        ":::", "1::2::3", "localhost", "10.0.0.0/8", "0x7f.1", "1:2:3:4:5:6:7:8:9"}) {
    EXPECT_FALSE(parse_address(text)) << text;
  }
}

// Once: the text is cut at the byte 0 before it is read.
TEST(AddressText, RefusesAByteZero) {
  EXPECT_FALSE(parse_address(std::string_view("10.0.0.5\0junk", 13)));
}

TEST(AddressPrefix, ContainsExactlyItsAddresses) {
  const AddressPrefix p = prefix("10.0.4.0/23");
  EXPECT_TRUE(p.contains(address("10.0.4.0")));
  EXPECT_TRUE(p.contains(address("10.0.5.255")));
  EXPECT_FALSE(p.contains(address("10.0.3.255")));
  EXPECT_FALSE(p.contains(address("10.0.6.0")));
  EXPECT_FALSE(p.contains(address("::10.0.4.0")));
  const AddressPrefix six = prefix("2001:db8::/33");
  EXPECT_TRUE(six.contains(address("2001:db8:7fff::1")));
  EXPECT_FALSE(six.contains(address("2001:db8:8000::")));
}

TEST(AddressPrefix, OneAddressIsAPrefixOfItself) {
  EXPECT_EQ(prefix("10.0.0.5").bits, 128U);
  EXPECT_TRUE(prefix("10.0.0.5").contains(address("10.0.0.5")));
  EXPECT_FALSE(prefix("10.0.0.5").contains(address("10.0.0.4")));
  EXPECT_TRUE(prefix("::1").contains(address("::1")));
}

TEST(AddressPrefix, AllOfIPv4IsNoIPv6) {
  EXPECT_TRUE(prefix("0.0.0.0/0").contains(address("203.0.113.1")));
  EXPECT_FALSE(prefix("0.0.0.0/0").contains(address("2001:db8::1")));
  EXPECT_TRUE(prefix("::/0").contains(address("2001:db8::1")));
}

// Once: addresses are compared in the 16-byte form, in which IPv4 lies within ::/0 (and within
// any prefix of ::ffff:0:0/96 that is shorter than 96).
TEST(AddressPrefix, AllOfIPv6IsNoIPv4) {
  EXPECT_FALSE(prefix("::/0").contains(address("203.0.113.1")));
}

TEST(AddressPrefix, EveryLength) {
  const Address host = address("255.255.255.255");
  for (unsigned length = 0; length <= 32; ++length) {
    const std::uint32_t mask = length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
    const std::string text = to_text(address_from_v4({htonl(mask)})) + "/" + std::to_string(length);
    const auto p = parse_prefix(text);
    ASSERT_TRUE(p) << text;
    EXPECT_EQ(p->bits, 96 + length);
    EXPECT_TRUE(p->contains(host));
    if (length == 0) continue;
    EXPECT_FALSE(p->contains(address_from_v4({htonl(mask << 1)}))) << text;
  }
}

TEST(AddressPrefix, CountsAndListsItsAddresses) {
  const AddressPrefix p = prefix("10.0.0.8/30");
  EXPECT_EQ(p.size(100), 4U);
  EXPECT_EQ(p.size(3), 3U);
  EXPECT_EQ(to_text(p.at(0)), "10.0.0.8");
  EXPECT_EQ(to_text(p.at(3)), "10.0.0.11");
  EXPECT_EQ(prefix("10.0.0.8").size(100), 1U);
  EXPECT_EQ(prefix("::/0").size(100), 100U);
  EXPECT_EQ(prefix("2001:db8::/64").size(1000), 1000U);
  EXPECT_EQ(prefix("2001:db8::/65").size(~0ULL), 1ULL << 63);
  EXPECT_EQ(to_text(prefix("2001:db8::/64").at(0x10002)), "2001:db8::1:2");
}

TEST(AddressPrefix, RefusesWhatIsNoPrefix) {
  for (const char* text : {"", "/", "/24", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8",
                           "10.0.0.0/8x", "10.0.0.0/8/8", "10.0.0.0/ 8", "2001:db8::/129",
                           "2001:db8::/99999999999", "10.0.0.0/0x8"}) {
    EXPECT_FALSE(parse_prefix(text)) << text;
  }
}

TEST(AddressPrefix, RefusesHostBits) {
  for (const char* text : {"10.0.0.1/24", "0.0.0.1/0", "2001:db8::1/127", "::1/0"}) {
    EXPECT_FALSE(parse_prefix(text)) << text;
  }
}

}  // namespace
}  // namespace portpool::test
