// Lanes, as `poold status --json` shows them, against the kernel's table.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/walk/kernel_table.h"

namespace portpool::test {

struct LaneDifferences {
  std::string text;    // empty when they agree exactly
  int ports_lost = 0;  // not free in their lane, and in no socket's use
};

// Where the lanes' counts differ from what `table` says.
// `blocked` are ports that a program has bound or listens on: bound ones are in no file of /proc.
LaneDifferences lane_differences(const nlohmann::json& status, const std::vector<TableRow>& table,
                                 std::pair<int, int> port_range,
                                 const std::set<std::uint16_t>& blocked);

}  // namespace portpool::test
