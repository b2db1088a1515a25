// A lane of one's own, and what stands in it as plain sets.
#pragma once

#include <cstdint>
#include <memory>
#include <set>

#include "portpool/port_map.h"

namespace portpool::test {

using PortSet = std::set<std::uint16_t>;

// A lane as poold gets it: all bytes 0.
inline std::unique_ptr<LaneHints> make_lane() { return std::make_unique<LaneHints>(); }

inline PortMapId map_id(std::size_t index) { return static_cast<PortMapId>(index); }

inline PortSet ports_in(LaneHints& lane, PortMapId id) {
  const PortMap map = port_map(lane, id);
  PortSet ports;
  for (std::uint32_t word = 0; word < kPortWords; ++word) {
    for (std::uint64_t bits = map.words[word].load(); bits != 0; bits &= bits - 1) {
      ports.insert(port_at(word, static_cast<unsigned>(std::countr_zero(bits))));
    }
  }
  return ports;
}

inline PortSet free_ports(LaneHints& lane) {
  PortSet ports;
  for (std::size_t map = 0; map < kFreeMaps; ++map) ports.merge(ports_in(lane, map_id(map)));
  return ports;
}

inline PortSet range_of(std::uint32_t low, std::uint32_t high) {
  PortSet ports;
  for (std::uint32_t port = low; port <= high; ++port) {
    ports.insert(ports.end(), static_cast<std::uint16_t>(port));
  }
  return ports;
}

inline void set_rings(LaneHints& lane, std::uint32_t word) {
  for (std::atomic<std::uint32_t>& ring : lane.ring) ring = word;
}

// Takes a port of either parity, -1 when there is none.
inline int take_any(PortMap map, std::uint64_t random) {
  const int even = take_port(map, Parity::even, random);
  return even >= 0 ? even : take_port(map, Parity::odd, random);
}

// As a program does where the kernel's range begins with an even port.
inline int claim(LaneHints& lane, std::uint64_t random) {
  return claim(lane, Parity::even, random);
}

// Every port from low to high free, in three ages, as fill_lane() leaves them.
inline void make_free(LaneHints& lane, std::uint32_t low, std::uint32_t high) {
  for (std::uint32_t port = low; port <= high; ++port) {
    const auto age = static_cast<std::uint32_t>(detail::next_random(port + 1) % 3);
    put_port(free_map(lane, age), static_cast<std::uint16_t>(port));
  }
  set_rings(lane, FreeRing{0, kFreeMaps - 1}.pack());
}

}  // namespace portpool::test
