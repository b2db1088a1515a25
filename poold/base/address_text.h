// Addresses as people write them: "10.0.0.5", "2001:db8::1"; with a port "10.0.0.5:80", "[::1]:80".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "portpool/endpoint.h"

namespace portpool {

std::string to_text(const Address& address);
std::string to_text(const Endpoint& endpoint);
std::optional<Address> parse_address(std::string_view text);
// nullopt also for port 0, and for IPv6 without brackets.
std::optional<Endpoint> parse_endpoint(std::string_view text);

// A prefix of addresses: "10.0.4.0/24", "2001:db8::/32", or one address.
struct AddressPrefix {
  Address base;       // host bits are 0
  unsigned bits = 0;  // 0..128, counted in the 16-byte form: an IPv4 /24 has 120

  bool contains(const Address& address) const;
  // How many addresses, at most `limit`.
  std::uint64_t size(std::uint64_t limit) const;
  // The n-th address, n < size().
  Address at(std::uint64_t n) const;
};

// nullopt: not an address, a prefix length out of range, or host bits that are not 0.
std::optional<AddressPrefix> parse_prefix(std::string_view text);
// As it is parsed; one address without its length.
std::string to_text(const AddressPrefix& prefix);

}  // namespace portpool
