#include "fault/fault_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "support/eventually.h"
#include "support/walk/lane_check.h"

namespace portpool::test {

void append_row(const FaultRow& row) {
  std::ostringstream line;
  line << "| " << row.fault << " | " << row.times << " | " << row.application_errors << " | "
       << row.wrong_connections << " | " << row.ports_lost << " | " << row.worst_recovery.count()
       << " ms |\n";
  std::cout << line.str() << std::flush;
  if (const char* path = std::getenv("PORTPOOL_FAULT_TABLE")) {
    std::ofstream(path, std::ios::app) << line.str();
  }
}

void await_agreement(const Poold& poold, std::pair<int, int> port_range, FaultRow& row) {
  const auto begin = std::chrono::steady_clock::now();
  LaneDifferences differences;
  const bool agree = eventually([&] {
    const std::vector<TableRow> before = read_kernel_table();
    const nlohmann::json status = poold.status();
    differences = lane_differences(status, before, port_range, {});
    if (before != read_kernel_table())
      differences.text = "the kernel's table does not come to rest";
    return differences.text.empty() && !status.at("lanes").empty();
  });
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begin);
  row.worst_recovery = std::max(row.worst_recovery, took);
  if (!agree) row.ports_lost += static_cast<std::uint64_t>(differences.ports_lost);
  EXPECT_TRUE(agree) << differences.text << poold.status().dump(1) << "\npoold said:\n"
                     << const_cast<Poold&>(poold).process().err();
}

}  // namespace portpool::test
