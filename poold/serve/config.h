// The configuration file (TOML) and its defaults. docs/configuration.md lists the keys.
#pragma once

#include <string>
#include <vector>

#include "portpool/handover.h"
#include "portpool/layout.h"
#include "reconcile/rules.h"

namespace portpool {

enum class StrategyChoice { automatic, port_range, bind };

struct Config {
  Mode mode = Mode::pool;
  StrategyChoice strategy = StrategyChoice::automatic;
  std::string socket = kDefaultSocket;
  std::string socket_group;  // empty: only root and poold's own user may attach
  std::uint32_t max_lanes = 1024;
  std::vector<PoolRule> pools;  // the implicit last one included
};

// A configuration without a file.
Config default_config();

// The addresses that `text` (an address or a prefix) stands for and that this host itself answers
// for, by its routing table: at most kLanesPerEntry. Empty when there is none.
std::vector<Address> local_sources(const AddressPrefix& prefix);

// Throws UserError naming file, line, column and what was expected.
Config load_config(const std::string& path);
Config parse_config(std::string_view text, const std::string& name);

}  // namespace portpool
