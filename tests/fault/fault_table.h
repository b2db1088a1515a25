// What a fault did, as a row of the table in docs/reliability.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "support/poold_fixture.h"

namespace portpool::test {

struct FaultRow {
  std::string fault;
  std::uint64_t times = 0;               // tried
  std::uint64_t application_errors = 0;  // that the same program has not without the library
  std::uint64_t wrong_connections = 0;   // an echo or a peer that is another's
  std::uint64_t ports_lost = 0;          // free in the kernel's table, and not in the lane
  std::chrono::milliseconds worst_recovery{0};
};

// Prints it, and appends it to the file that PORTPOOL_FAULT_TABLE names.
void append_row(const FaultRow& row);

// Waits until each lane agrees with the kernel's table, to the port; how long that took goes into
// the row, and what is lost when it never does. A failure of the test then.
void await_agreement(const Poold& poold, std::pair<int, int> port_range, FaultRow& row);

}  // namespace portpool::test
