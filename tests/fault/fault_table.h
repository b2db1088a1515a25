// What became of the faults that a run has tried: the rows of the tables in docs/reliability.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "support/poold_fixture.h"

namespace portpool::test {

struct FaultRow {
  std::uint64_t tried = 0;
  std::uint64_t application_errors = 0;  // that the same program has not without the library
  std::uint64_t wrong_connections = 0;   // an echo or a peer that is another's
  std::uint64_t ports_lost = 0;          // free in the kernel's table, and not in the lane
  std::chrono::milliseconds worst_recovery{0};

  void add(const FaultRow& more);
};

// By name; what has one name is added up.
class FaultTable {
 public:
  void add(const std::string& fault, const FaultRow& row);
  // In Markdown: to standard output with its head, without it to the end of the file that
  // PORTPOOL_FAULT_TABLE names.
  void write() const;

 private:
  std::map<std::string, FaultRow> rows_;
};

// Waits until each lane agrees with the kernel's table, to the port; how long that took goes into
// the row, and what is lost when it never does. A failure of the test then.
void await_agreement(const Poold& poold, std::pair<int, int> port_range, FaultRow& row);

}  // namespace portpool::test
