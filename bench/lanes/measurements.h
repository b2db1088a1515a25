// The measurements of bench_lanes. Each runs in a process and a network namespace of its own and
// returns its figures (figures.h).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace portpool::bench {

struct LaneOptions {
  bool quick = false;
  std::string only;     // the name of one measurement; "": all
  std::string json;     // "": no file
  std::string poold;    // "": beside this program
  std::string library;  // "": ../lib/libportpool.so from this program
};

// What keeping lanes true costs: the CPU time of one pass, and the daemon's share of a core.
nlohmann::json measure_reconcile(const LaneOptions& options);
// Connections a second with 12 ports free, against the kernel's path.
nlohmann::json measure_last_ports(const LaneOptions& options);
// How soon a port that the shim had to leave in doubt can be claimed again.
nlohmann::json measure_refill(const LaneOptions& options);
// 60,000 connections held to one destination, from three addresses.
nlohmann::json measure_sources(const LaneOptions& options);
// A scrape of /metrics and a `poold status`, with 1,000 lanes.
nlohmann::json measure_observing(const LaneOptions& options);
// What exhaustion costs, on the kernel's path and with fail-fast.
nlohmann::json measure_fail_fast(const LaneOptions& options);

}  // namespace portpool::bench
