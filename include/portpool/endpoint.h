// Addresses and the key of a lane.
//
// Every address is kept in 16 bytes; an IPv4 address is kept IPv4-mapped (::ffff:a.b.c.d), because
// an AF_INET6 socket that connects to a mapped address occupies the IPv4 4-tuple.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <bit>
#include <cstdint>
#include <cstring>

namespace portpool {

struct Address {
  std::uint64_t high = 0;  // bytes 0..7, as they stand in memory (network order)
  std::uint64_t low = 0;   // bytes 8..15

  friend constexpr bool operator==(const Address&, const Address&) = default;
};

namespace detail {
inline constexpr std::uint64_t kMappedMask =
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0x00000000FFFFFFFFULL : 0xFFFFFFFF00000000ULL;
inline constexpr std::uint64_t kMappedPrefix =
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0x00000000FFFF0000ULL : 0x0000FFFF00000000ULL;
}  // namespace detail

inline Address address_from_v6(const in6_addr& raw) { return std::bit_cast<Address>(raw); }

inline Address address_from_v4(in_addr raw) {
  in6_addr mapped{};
  mapped.s6_addr[10] = mapped.s6_addr[11] = 0xFF;
  std::memcpy(mapped.s6_addr + 12, &raw, sizeof raw);
  return address_from_v6(mapped);
}

inline bool is_v4(const Address& address) {
  return address.high == 0 && (address.low & detail::kMappedMask) == detail::kMappedPrefix;
}

// The IPv4 address inside a mapped one; meaningful only when is_v4().
inline in_addr v4_of(const Address& address) {
  in_addr raw;
  std::memcpy(&raw, reinterpret_cast<const unsigned char*>(&address) + 12, sizeof raw);
  return raw;
}

inline in6_addr v6_of(const Address& address) { return std::bit_cast<in6_addr>(address); }

// 0.0.0.0 (also ::ffff:0.0.0.0) or ::.
inline bool is_unspecified(const Address& address) {
  if (is_v4(address)) return v4_of(address).s_addr == 0;
  return address.high == 0 && address.low == 0;
}

// 127.0.0.0/8 or ::1.
inline bool is_loopback(const Address& address) {
  if (is_v4(address)) return (ntohl(v4_of(address).s_addr) >> 24) == 127;
  const in6_addr raw = v6_of(address);
  return IN6_IS_ADDR_LOOPBACK(&raw);
}

// 127.0.0.1 or ::1, by the family of `address`.
inline Address loopback_like(const Address& address) {
  return is_v4(address) ? address_from_v4({htonl(INADDR_LOOPBACK)})
                        : address_from_v6(in6addr_loopback);
}

// fe80::/10: means a different host on each interface, so a lane cannot be keyed by it alone.
inline bool is_link_local_v6(const Address& address) {
  const in6_addr raw = v6_of(address);
  return !is_v4(address) && IN6_IS_ADDR_LINKLOCAL(&raw);
}

struct Endpoint {
  Address address;
  std::uint16_t port = 0;  // host order

  friend constexpr bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Reads AF_INET and AF_INET6 addresses. False for another family or a length that the kernel would
// refuse (ip(7), ipv6(7); an AF_INET6 address may end before sin6_scope_id, RFC 2133).
inline bool endpoint_from_sockaddr(const sockaddr* raw, socklen_t length, Endpoint& out) {
  constexpr socklen_t kShortestV6 = 24;
  if (raw == nullptr || length < sizeof raw->sa_family) return false;
  if (raw->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    sockaddr_in v4;
    std::memcpy(&v4, raw, sizeof v4);
    out = {address_from_v4(v4.sin_addr), ntohs(v4.sin_port)};
    return true;
  }
  if (raw->sa_family == AF_INET6 && length >= kShortestV6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, raw, kShortestV6);
    out = {address_from_v6(v6.sin6_addr), ntohs(v6.sin6_port)};
    return true;
  }
  return false;
}

// Writes `endpoint` for a socket of `family`: on AF_INET6 an IPv4 address is written mapped.
// Returns the length; 0 when the family cannot hold the address.
inline socklen_t sockaddr_from_endpoint(const Endpoint& endpoint, int family,
                                        sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  if (family == AF_INET && is_v4(endpoint.address)) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(endpoint.port);
    v4.sin_addr = v4_of(endpoint.address);
    std::memcpy(&out, &v4, sizeof v4);
    return sizeof v4;
  }
  if (family == AF_INET6) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    v6.sin6_addr = v6_of(endpoint.address);
    std::memcpy(&out, &v6, sizeof v6);
    return sizeof v6;
  }
  return 0;
}

// One lane: the ports of `source` toward `destination`. As a question ("which lanes may this
// connect() use?") the source may be unspecified: the program left it to routing or to the pool.
struct LaneKey {
  Address source;
  Address destination;
  std::uint16_t destination_port = 0;  // host order, 1..65535

  friend constexpr bool operator==(const LaneKey&, const LaneKey&) = default;
};

inline Endpoint destination_of(const LaneKey& key) {
  return {key.destination, key.destination_port};
}

// The lane of promises of a source (which may be unspecified): its ports toward whatever
// destination, from which a program is told one that asks before it connects (docs/connect.md).
inline LaneKey promises_of(const Address& source) { return {source, Address{}, 0}; }
inline bool is_for_promises(const LaneKey& key) {
  return key.destination_port == 0 && key.destination == Address{};
}

// Two rounds of 64x64 -> 128 bit multiplication folded by xor (as in wyhash).
inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  a ^= 0xA0761D6478BD642FULL;
  b ^= 0xE7037ED1A0B428DBULL;
#ifdef __SIZEOF_INT128__
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#else
  // The same from four products of halves: programs of 32 bits share the directory with poold.
  const std::uint64_t a_low = a & 0xFFFFFFFFU, a_high = a >> 32;
  const std::uint64_t b_low = b & 0xFFFFFFFFU, b_high = b >> 32;
  const std::uint64_t low = a_low * b_low;
  const std::uint64_t middle = a_high * b_low + (low >> 32);
  const std::uint64_t other = a_low * b_high + (middle & 0xFFFFFFFFU);
  return (other << 32 | (low & 0xFFFFFFFFU)) ^ (a_high * b_high + (middle >> 32) + (other >> 32));
#endif
}

inline std::uint64_t hash_of(const LaneKey& key) {
  return mix(mix(key.source.low ^ key.source.high, key.destination.low),
             key.destination.high ^ (static_cast<std::uint64_t>(key.destination_port) << 32));
}

// For the standard library's tables.
struct KeyHash {
  std::size_t operator()(const LaneKey& key) const {
    return static_cast<std::size_t>(hash_of(key));
  }
};

}  // namespace portpool
