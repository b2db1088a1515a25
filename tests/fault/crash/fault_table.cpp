#include "fault/crash/fault_table.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

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

std::string FaultTable::text() const {
  std::ostringstream out;
  out << "| fault | times tried | application errors | wrong connections | ports lost | "
         "worst recovery |\n|---|---|---|---|---|---|\n";
  for (const auto& [fault, row] : rows_) {
    out << "| " << fault << " | " << grouped(row.tried) << " | " << grouped(row.application_errors)
        << " | " << grouped(row.wrong_connections) << " | " << grouped(row.ports_lost) << " | "
        << std::fixed << std::setprecision(2)
        << static_cast<double>(row.worst_recovery.count()) / 1000 << " s |\n";
  }
  return out.str();
}

}  // namespace portpool::test
