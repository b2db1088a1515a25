// The configuration file (TOML) and its defaults. docs/configuration.md lists the keys.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lanes/rules.h"
#include "portpool/handover.h"
#include "portpool/hints.h"

namespace portpool {

enum class StrategyChoice { automatic, port_range, bind };

// Mode ab: how long an arm is in force.
inline constexpr std::chrono::milliseconds kDefaultAbBlock{2000};
inline constexpr std::chrono::milliseconds kShortestAbBlock{20};
inline constexpr std::chrono::milliseconds kLongestAbBlock{3'600'000};

struct Config {
  Mode mode = Mode::pool;
  std::chrono::milliseconds ab_block = kDefaultAbBlock;
  std::uint64_t ab_seed = 0;  // of the order of blocks; 0: random
  StrategyChoice strategy = StrategyChoice::automatic;
  std::string socket = kDefaultSocket;
  std::string socket_group;  // empty: only root and poold's own user may attach
  std::uint32_t max_lanes = 1024;
  std::optional<Endpoint> metrics_listen;  // none: no metrics are served
  std::vector<PoolRule> pools;             // the implicit last one included
};

// A configuration without a file.
Config default_config();

// The addresses that `text` (an address or a prefix) stands for and that this host itself answers
// for, by its routing table: at most kLanesPerEntry. Empty when there is none.
std::vector<Address> local_sources(const AddressPrefix& prefix);

// Adds the addresses that `text` ("10.0.0.5", "10.0.0.8/30") stands for to the rule's sources.
// Returns what is wrong with it; empty when nothing is.
std::string add_source(PoolRule& rule, const std::string& text);

// Throws UserError naming file, line, column and what was expected.
Config load_config(const std::string& path);
Config parse_config(std::string_view text, const std::string& name);

}  // namespace portpool
