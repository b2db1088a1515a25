// Where the hostile client and the honest ones meet: addresses, destinations and port ranges.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace portpool::test {

// ip_local_port_range: so many ports that the kernel's own path fails nobody.
inline constexpr int kLow = 20010;
inline constexpr int kHigh = 39989;

// A pool's own range, below and above 1024: with the bind strategy it may be used.
inline constexpr int kOwnLow = 600;
inline constexpr int kOwnHigh = 8999;

// Nobody listens here. The kernel's own path never takes a port of this parity before half of the
// range is in use (__inet_hash_connect), so it never connects a socket to itself.
inline constexpr int kNobodysPort = kLow + 5001;

struct HonestTarget {
  std::string destination;
  std::string source;              // bound by the program first; empty: it leaves that open
  std::vector<std::string> pools;  // sources that a pool names; empty: what routing says
  bool own_range = false;          // the pool has kOwnLow to kOwnHigh
};

inline const std::vector<HonestTarget> kTargets{
    {"127.0.0.1:9001", "", {}},          {"127.0.0.1:9002", "", {}},  // fail-fast
    {"127.0.0.1:9001", "127.0.0.5", {}}, {"[::1]:9001", "", {}},
    {"[::ffff:127.0.0.1]:9001", "", {}}, {"10.8.0.5:9001", "", {}},
    {"[fd00:8::5]:9001", "", {}},        {"10.8.0.9:9003", "", {"10.7.0.3", "10.7.0.4"}},
    {"127.0.0.1:9004", "", {}, true},
};

inline const std::string kPools = R"(
max_lanes = 64
[[pool]]
name = "fast"
destinations = ["127.0.0.1:9002"]
on_exhaustion = "fail-fast"
[[pool]]
name = "named"
destinations = ["10.8.0.9:9003"]
sources = ["10.7.0.3", "10.7.0.4"]
source_policy = "balance"
)";

// By bind() a port is shared with other lanes in a range that other programs need too, and whoever
// can write the hints may then cause an error (docs/threat-model.md). In one that is the pool's own
// nobody can; the kernel's path has the other half.
inline const std::string kReserved = std::to_string(kLow) + "-29999";
inline const std::string kReservedPool = "[[pool]]\nport_range = \"" + kReserved + "\"\n";

inline std::string pools_of_reserved_ports() {
  std::string pools = kPools;
  const std::string head = "[[pool]]\n";
  for (std::size_t at = 0; (at = pools.find(head, at)) != std::string::npos;) {
    pools.replace(at, head.size(), kReservedPool);
    at += kReservedPool.size();
  }
  return pools;
}

inline const std::string kOwnRangePool = R"(
[[pool]]
name = "own"
destinations = ["127.0.0.1:9004"]
port_range = "600-8999"
)";

}  // namespace portpool::test
