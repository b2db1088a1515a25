// The command line of bench_connect.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace portpool::bench {

struct Options {
  std::vector<double> percents = {0, 45, 52, 90, 99, 99.9};  // ascending, 0 <= p < 100
  std::uint32_t rounds = 60;         // measured blocks per arm and occupancy
  std::uint32_t connects = 300;      // per block
  std::uint32_t budget_ms = 50;      // no connect of a block begins after this
  std::uint64_t seed = 1;            // of the arms' order and of the pinned ports
  int cpu = -1;                      // for the workers; -1: the last one
  std::string json;                  // "": no file
  std::string poold;                 // "": beside this program
  std::string library;               // "": ../lib/libportpool.so from this program
  std::vector<std::string> against;  // other builds of the library, an arm each
};

// Throws std::invalid_argument with a sentence for the user.
Options parse_options(int argc, char** argv);

inline constexpr const char* kUsage =
    "bench_connect: the time of one connect() on each path, from an empty to a full port range\n"
    "  --occupancy P,..  per cent of the range held, ascending (0,45,52,90,99,99.9)\n"
    "  --rounds N        measured blocks per arm and occupancy (60)\n"
    "  --connects N      connects per block, at most 2048 (300)\n"
    "  --budget-ms N     no connect of a block begins after this (50)\n"
    "  --quick           ten rounds at 0, 52 and 99.9 %\n"
    "  --cpu N           the CPU of the workers (the last one)\n"
    "  --seed N          of the arms' order and of the pinned ports (1)\n"
    "  --json FILE       writes the figures there too\n"
    "  --poold FILE, --library FILE   the programs measured (those built with this one)\n"
    "  --against FILE    an arm more, with another build of the library; may be repeated\n";

}  // namespace portpool::bench
