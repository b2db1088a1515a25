#include "fault/fault_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "support/eventually.h"
#include "support/walk/lane_check.h"

namespace portpool::test {
namespace {

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

}  // namespace

void FaultRow::add(const FaultRow& more) {
  tried += more.tried;
  application_errors += more.application_errors;
  wrong_connections += more.wrong_connections;
  ports_lost += more.ports_lost;
  worst_recovery = std::max(worst_recovery, more.worst_recovery);
}

void FaultTable::add(const std::string& fault, const FaultRow& row) { rows_[fault].add(row); }

void FaultTable::write() const {
  std::ostringstream out;
  for (const auto& [fault, row] : rows_) {
    out << "| " << fault << " | " << grouped(row.tried) << " | " << grouped(row.application_errors)
        << " | " << grouped(row.wrong_connections) << " | " << grouped(row.ports_lost) << " | "
        << std::fixed << std::setprecision(2)
        << static_cast<double>(row.worst_recovery.count()) / 1000 << " s |\n";
  }
  if (rows_.empty()) return;
  std::cout << "\n| fault | times tried | application errors | wrong connections | ports lost | "
               "worst recovery |\n|---|---|---|---|---|---|\n"
            << out.str() << std::flush;
  if (const char* path = std::getenv("PORTPOOL_FAULT_TABLE")) {
    std::ofstream(path, std::ios::app) << out.str();
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
