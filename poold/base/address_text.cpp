#include "base/address_text.h"

#include <algorithm>

#include "base/parse_number.h"

namespace portpool {
namespace {

// Bits [from, 128) of the address cleared.
Address masked(const Address& address, unsigned bits) {
  in6_addr raw = v6_of(address);
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned kept = std::clamp(static_cast<int>(bits) - static_cast<int>(i * 8), 0, 8);
    raw.s6_addr[i] = static_cast<std::uint8_t>(raw.s6_addr[i] & (0xFF00U >> kept));
  }
  return address_from_v6(raw);
}

}  // namespace

std::string to_text(const Address& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (is_v4(address)) {
    const in_addr raw = v4_of(address);
    inet_ntop(AF_INET, &raw, text, sizeof text);
  } else {
    const in6_addr raw = v6_of(address);
    inet_ntop(AF_INET6, &raw, text, sizeof text);
  }
  return text;
}

std::string to_text(const Endpoint& endpoint) {
  const std::string host = to_text(endpoint.address);
  return (is_v4(endpoint.address) ? host : "[" + host + "]") + ":" + std::to_string(endpoint.port);
}

std::optional<Address> parse_address(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  const std::string copy(text);
  in_addr v4;
  if (inet_pton(AF_INET, copy.c_str(), &v4) == 1) return address_from_v4(v4);
  in6_addr v6;
  if (inet_pton(AF_INET6, copy.c_str(), &v6) == 1) return address_from_v6(v6);
  return std::nullopt;
}

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.starts_with('[') && host.ends_with(']');
  if (brackets) host = host.substr(1, host.size() - 2);
  if (brackets != (host.find(':') != std::string_view::npos)) return std::nullopt;
  const auto address = parse_address(host);
  const auto port = whole_number<std::uint16_t>(text.substr(colon + 1));
  if (!address || !port || *port == 0) return std::nullopt;
  return Endpoint{*address, *port};
}

bool AddressPrefix::contains(const Address& address) const {
  // ::/0 and its like mean IPv6, though IPv4 addresses are kept in the same 16 bytes.
  return is_v4(address) == is_v4(base) && masked(address, bits) == base;
}

std::uint64_t AddressPrefix::size(std::uint64_t limit) const {
  const unsigned host_bits = 128 - bits;
  return host_bits >= 64 ? limit : std::min(limit, std::uint64_t{1} << host_bits);
}

Address AddressPrefix::at(std::uint64_t n) const {
  in6_addr raw = v6_of(base);
  for (int i = 15; n != 0 && i >= 0; --i, n >>= 8) {
    raw.s6_addr[i] = static_cast<std::uint8_t>(raw.s6_addr[i] | (n & 0xFF));
  }
  return address_from_v6(raw);
}

std::string to_text(const AddressPrefix& prefix) {
  if (prefix.bits == 128) return to_text(prefix.base);
  return to_text(prefix.base) + "/" + std::to_string(prefix.bits - (is_v4(prefix.base) ? 96 : 0));
}

std::optional<AddressPrefix> parse_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto address = parse_address(text.substr(0, slash));
  if (!address) return std::nullopt;
  const unsigned width = is_v4(*address) ? 32 : 128;
  const auto length = slash != std::string_view::npos
                          ? whole_number<unsigned>(text.substr(slash + 1))
                          : std::optional(width);
  if (!length || *length > width) return std::nullopt;
  const unsigned bits = 128 - width + *length;
  if (masked(*address, bits) != *address) return std::nullopt;
  return AddressPrefix{*address, bits};
}

}  // namespace portpool
