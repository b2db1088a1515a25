// Lanes, as `poold status --json` shows them, against the kernel's table.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "stress/kernel_table.h"

namespace portpool::test {

// Where the lanes' counts differ from what `table` says, in words; empty when they agree exactly.
// `blocked` are ports that a program has bound or listens on: bound ones are in no file of /proc.
std::string lane_differences(const nlohmann::json& status, const std::vector<TableRow>& table,
                             std::pair<int, int> port_range,
                             const std::set<std::uint16_t>& blocked);

}  // namespace portpool::test
