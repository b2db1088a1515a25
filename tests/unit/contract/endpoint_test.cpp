#include "portpool/endpoint.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <set>
#include <string>

namespace portpool::test {
namespace {

Address v4(const char* text) {
  in_addr raw{};
  EXPECT_EQ(inet_pton(AF_INET, text, &raw), 1) << text;
  return address_from_v4(raw);
}

Address v6(const char* text) {
  in6_addr raw{};
  EXPECT_EQ(inet_pton(AF_INET6, text, &raw), 1) << text;
  return address_from_v6(raw);
}

sockaddr_in raw_v4(const char* text, std::uint16_t port) {
  sockaddr_in raw{};
  raw.sin_family = AF_INET;
  raw.sin_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET, text, &raw.sin_addr), 1);
  return raw;
}

sockaddr_in6 raw_v6(const char* text, std::uint16_t port) {
  sockaddr_in6 raw{};
  raw.sin6_family = AF_INET6;
  raw.sin6_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET6, text, &raw.sin6_addr), 1);
  return raw;
}

template <class Raw>
bool read(const Raw& raw, Endpoint& out, socklen_t length = sizeof(Raw)) {
  return endpoint_from_sockaddr(reinterpret_cast<const sockaddr*>(&raw), length, out);
}

TEST(Address, V4IsKeptMapped) {
  EXPECT_EQ(v4("192.0.2.1"), v6("::ffff:192.0.2.1"));
  EXPECT_TRUE(is_v4(v4("192.0.2.1")));
  EXPECT_TRUE(is_v4(v4("0.0.0.0")));
  EXPECT_EQ(v4_of(v4("192.0.2.1")).s_addr, htonl(0xC0000201));
}

TEST(Address, OnlyMappedOnesAreV4) {
  for (const char* text : {"::", "::1", "::192.0.2.1", "::fffe:192.0.2.1", "::1:ffff:192.0.2.1",
                           "64:ff9b::192.0.2.1", "1::ffff:192.0.2.1", "2001:db8::1"}) {
    EXPECT_FALSE(is_v4(v6(text))) << text;
  }
}

TEST(Address, V6RoundTrip) {
  const Address address = v6("2001:db8:1:2:3:4:5:6");
  const in6_addr raw = v6_of(address);
  EXPECT_EQ(address_from_v6(raw), address);
  EXPECT_EQ(raw.s6_addr[0], 0x20);
  EXPECT_EQ(raw.s6_addr[15], 0x06);
}

TEST(Address, Unspecified) {
  EXPECT_TRUE(is_unspecified(Address{}));
  EXPECT_TRUE(is_unspecified(v6("::")));
  EXPECT_TRUE(is_unspecified(v4("0.0.0.0")));
  EXPECT_FALSE(is_unspecified(v4("0.0.0.1")));
  EXPECT_FALSE(is_unspecified(v6("::1")));
  EXPECT_FALSE(is_unspecified(v6("1::")));
}

TEST(Address, Loopback) {
  for (const Address& address : {v4("127.0.0.1"), v4("127.255.255.255"), v6("::1")}) {
    EXPECT_TRUE(is_loopback(address));
  }
  for (const Address& address : {v4("128.0.0.1"), v4("126.0.0.1"), v6("::2"), v6("::127.0.0.1"),
                                 v6("::"), v4("1.0.0.127")}) {
    EXPECT_FALSE(is_loopback(address));
  }
  EXPECT_EQ(loopback_like(v4("10.0.0.1")), v4("127.0.0.1"));
  EXPECT_EQ(loopback_like(v6("2001:db8::1")), v6("::1"));
}

TEST(Address, LinkLocal) {
  EXPECT_TRUE(is_link_local_v6(v6("fe80::1")));
  EXPECT_TRUE(is_link_local_v6(v6("febf::1")));
  EXPECT_FALSE(is_link_local_v6(v6("fec0::1")));
  EXPECT_FALSE(is_link_local_v6(v6("2001:db8::fe80")));
  EXPECT_FALSE(is_link_local_v6(v4("169.254.1.1")));
}

TEST(EndpointFromSockaddr, ReadsBothFamilies) {
  Endpoint out;
  ASSERT_TRUE(read(raw_v4("192.0.2.7", 443), out));
  EXPECT_EQ(out, (Endpoint{v4("192.0.2.7"), 443}));
  ASSERT_TRUE(read(raw_v6("2001:db8::7", 65535), out));
  EXPECT_EQ(out, (Endpoint{v6("2001:db8::7"), 65535}));
  ASSERT_TRUE(read(raw_v6("::ffff:192.0.2.7", 443), out));
  EXPECT_EQ(out, (Endpoint{v4("192.0.2.7"), 443}));
}

TEST(EndpointFromSockaddr, RefusesWhatTheKernelRefuses) {
  Endpoint out{v4("1.2.3.4"), 5};
  const Endpoint before = out;
  const sockaddr_in four = raw_v4("192.0.2.7", 443);
  const sockaddr_in6 six = raw_v6("2001:db8::7", 443);
  for (socklen_t length = 0; length < sizeof four; ++length) {
    EXPECT_FALSE(read(four, out, length)) << length;
  }
  for (socklen_t length = 0; length < 24; ++length) EXPECT_FALSE(read(six, out, length)) << length;
  EXPECT_TRUE(read(six, out, 24)) << "an address without sin6_scope_id";
  out = before;
  EXPECT_FALSE(endpoint_from_sockaddr(nullptr, sizeof four, out));
  for (const int family : {AF_UNSPEC, AF_UNIX, AF_NETLINK, 255}) {
    sockaddr_storage raw{};
    raw.ss_family = static_cast<sa_family_t>(family);
    EXPECT_FALSE(read(raw, out)) << family;
  }
  EXPECT_EQ(out, before) << "an endpoint that was not read must stay as it was";
}

TEST(EndpointFromSockaddr, TakesLongerAndUnalignedOnes) {
  Endpoint out;
  alignas(8) char bytes[64] = {};
  const sockaddr_in raw = raw_v4("192.0.2.7", 443);
  std::memcpy(bytes + 2, &raw, sizeof raw);
  ASSERT_TRUE(endpoint_from_sockaddr(
      static_cast<const sockaddr*>(static_cast<const void*>(bytes + 2)), 60, out));
  EXPECT_EQ(out, (Endpoint{v4("192.0.2.7"), 443}));
}

TEST(SockaddrFromEndpoint, RoundTrips) {
  const Endpoint four{v4("203.0.113.9"), 8080};
  const Endpoint six{v6("2001:db8::9"), 1};
  for (const auto& [endpoint, family, length] : {std::tuple{four, AF_INET, sizeof(sockaddr_in)},
                                                 std::tuple{four, AF_INET6, sizeof(sockaddr_in6)},
                                                 std::tuple{six, AF_INET6, sizeof(sockaddr_in6)}}) {
    sockaddr_storage raw;
    std::memset(&raw, 0xFF, sizeof raw);
    ASSERT_EQ(sockaddr_from_endpoint(endpoint, family, raw), length);
    EXPECT_EQ(raw.ss_family, family);
    Endpoint back;
    ASSERT_TRUE(read(raw, back, static_cast<socklen_t>(length)));
    EXPECT_EQ(back, endpoint);
  }
}

TEST(SockaddrFromEndpoint, LeavesNoStrayBytes) {
  sockaddr_storage raw;
  std::memset(&raw, 0xFF, sizeof raw);
  sockaddr_from_endpoint({v6("2001:db8::9"), 1}, AF_INET6, raw);
  sockaddr_in6 six{};
  std::memcpy(&six, &raw, sizeof six);
  EXPECT_EQ(six.sin6_flowinfo, 0U);
  EXPECT_EQ(six.sin6_scope_id, 0U);
}

TEST(SockaddrFromEndpoint, RefusesWhatTheFamilyCannotHold) {
  sockaddr_storage raw;
  EXPECT_EQ(sockaddr_from_endpoint({v6("2001:db8::9"), 1}, AF_INET, raw), 0U);
  EXPECT_EQ(sockaddr_from_endpoint({v6("::1"), 1}, AF_INET, raw), 0U);
  EXPECT_EQ(sockaddr_from_endpoint({v4("127.0.0.1"), 1}, AF_UNIX, raw), 0U);
}

TEST(LaneKey, HashDependsOnEveryPart) {
  const LaneKey key{v4("10.0.0.1"), v4("10.0.0.2"), 443};
  std::set<std::uint64_t> hashes{hash_of(key)};
  hashes.insert(hash_of({v4("10.0.0.3"), v4("10.0.0.2"), 443}));
  hashes.insert(hash_of({v4("10.0.0.1"), v4("10.0.0.3"), 443}));
  hashes.insert(hash_of({v4("10.0.0.1"), v4("10.0.0.2"), 444}));
  hashes.insert(hash_of({v4("10.0.0.2"), v4("10.0.0.1"), 443}));
  hashes.insert(hash_of({Address{}, v4("10.0.0.2"), 443}));
  hashes.insert(hash_of({v6("2001:db8::1"), v6("2001:db9::1"), 443}));
  hashes.insert(hash_of({v6("2001:db8::1"), v6("2001:dba::1"), 443}));
  EXPECT_EQ(hashes.size(), 8U);
}

// Neighbouring destinations must not crowd into the same directory places.
TEST(LaneKey, HashSpreadsNeighbours) {
  std::set<std::uint64_t> places;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const LaneKey key{Address{}, address_from_v4({htonl(0x0A000000U + i)}), 443};
    places.insert(hash_of(key) % 4096);
  }
  // 1000 balls in 4096 boxes fill 887 on average.
  EXPECT_GT(places.size(), 840U);
}

}  // namespace
}  // namespace portpool::test
