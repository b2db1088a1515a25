// The configuration file (TOML) and its defaults. docs/configuration.md lists the keys.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "daemon/log_level.h"
#include "kernel/answer.h"
#include "lanes/rules.h"
#include "portpool/attendance.h"
#include "portpool/handover.h"
#include "portpool/hints.h"

namespace portpool {

enum class StrategyChoice { automatic, port_range, bind };

// Mode ab: how long an arm is in force.
inline constexpr std::chrono::milliseconds kDefaultAbBlock{2000};
inline constexpr std::chrono::milliseconds kShortestAbBlock{20};
inline constexpr std::chrono::milliseconds kLongestAbBlock{3'600'000};

// A unit, container or program of which a process should be attached and served.
struct Expected {
  ExpectedKind kind = ExpectedKind::unit;
  std::string name;

  friend bool operator==(const Expected&, const Expected&) = default;
};

struct Config {
  Mode mode = Mode::pool;
  std::chrono::milliseconds ab_block = kDefaultAbBlock;
  std::uint64_t ab_seed = 0;  // of the order of blocks; 0: random
  StrategyChoice strategy = StrategyChoice::automatic;
  std::string socket = kDefaultSocket;
  std::string socket_group;  // empty: only root and poold's own user may attach
  // No key of the file: `poold run` lets in whatever its command and its children have become. The
  // socket's file is open to everybody then, and each visitor is looked at.
  bool admits_descendants = false;
  std::uint32_t max_lanes = 1024;
  std::optional<Endpoint> metrics_listen;  // none: no metrics are served
  LogLevel log_level = LogLevel::info;
  bool sources_optional = false;   // a source that is not here yet is no error
  std::vector<PoolRule> pools;     // the implicit last one included
  std::vector<Expected> expected;  // at most kMostExpected
  std::uint32_t hash = 0;          // of the file's text; 0: there is no file
  // What is in force all the same, a sentence for each:
  std::vector<std::string> absent_sources;
  std::vector<std::string> idle_rules;  // those of review_of(pools)
};

// A configuration without a file.
Config default_config();

// The addresses that `text` (an address or a prefix) stands for and that this host itself answers
// for, by its routing table: at most kLanesPerEntry. Absent: there is none now.
kernel::Answer<std::vector<Address>> local_sources(const AddressPrefix& prefix);

struct SourceProblem {
  enum class Kind {
    wrong,   // the text, or there are too many
    absent,  // not here now: the rule has it and can do without
    coming,  // this host's, and to be used in a moment (IPv6: duplicates are looked for)
  };
  std::string text;
  Kind kind = Kind::wrong;
};
// Adds the addresses that `text` ("10.0.0.5", "10.0.0.8/30") stands for to the rule's sources.
std::optional<SourceProblem> add_source(PoolRule& rule, const std::string& text);

// What an absent source means, where sources_optional does not say. One that is coming is never an
// error.
enum class AbsentSources { error, warning };

// Throws UserError naming file, line, column and what was expected. The file must be a regular one
// and have at most kLargestConfig bytes; another kind, such as a FIFO, is refused without waiting.
inline constexpr std::size_t kLargestConfig = std::size_t{1} << 20;
Config load_config(const std::string& path, AbsentSources absent = AbsentSources::error);
Config parse_config(std::string_view text, const std::string& name,
                    AbsentSources absent = AbsentSources::error);

}  // namespace portpool
