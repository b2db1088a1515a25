// Where the bit of a port stands in a map of ports.
//
// Even and odd ports have words of their own, so that a free port of either kind is found in as few
// steps as any: the kernel keeps connect() on the parity of the low end of ip_local_port_range, and
// bind(0) on the other, as long as it can (__inet_hash_connect and inet_csk_find_open_port, since
// Linux 4.2), and so do the lanes. 128 neighbouring ports stand in two neighbouring words: a narrow
// range touches little memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "portpool/structure.h"

namespace portpool {

enum class Parity : std::uint32_t { even, odd };
inline constexpr std::size_t kParities = 2;

constexpr Parity parity_of(std::uint32_t number) { return static_cast<Parity>(number % 2); }
constexpr Parity other(Parity parity) {
  return parity == Parity::even ? Parity::odd : Parity::even;
}
constexpr std::uint32_t index_of(Parity parity) { return static_cast<std::uint32_t>(parity); }

constexpr std::uint32_t word_of_port(std::uint16_t port) { return port / 128U * 2 + port % 2U; }
constexpr std::uint64_t bit_of_port(std::uint16_t port) {
  return std::uint64_t{1} << (port / 2 % 64);
}
// The port whose bit is number `bit` (0..63) of word `word`, which has ports of parity_of(word).
constexpr std::uint16_t port_at(std::size_t word, unsigned bit) {
  return static_cast<std::uint16_t>(word / 2 * 128 + std::size_t{bit} * 2 + word % 2);
}

// The words in which the ports of a range, which is not empty, stand: from the first to the last.
constexpr std::uint32_t first_word(const PortRange& range) { return range.low / 128U * 2; }
constexpr std::uint32_t last_word(const PortRange& range) { return range.high / 128U * 2 + 1; }

}  // namespace portpool
