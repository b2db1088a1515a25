// What became of the faults that a run has tried: the rows of a table in docs/reliability.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace portpool::test {

struct FaultRow {
  std::uint64_t tried = 0;
  std::uint64_t application_errors = 0;
  std::uint64_t wrong_connections = 0;
  std::uint64_t ports_lost = 0;
  std::chrono::milliseconds worst_recovery{0};

  void add(const FaultRow& more);
};

// By name; what has one name is added up.
class FaultTable {
 public:
  void add(const std::string& fault, const FaultRow& row);
  bool empty() const { return rows_.empty(); }
  // With its head, in Markdown.
  std::string text() const;

 private:
  std::map<std::string, FaultRow> rows_;
};

}  // namespace portpool::test
