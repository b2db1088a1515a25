// Trace records as people and programs read them, and which of them they want.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lanes/rules.h"
#include "portpool/trace.h"

namespace portpool {

// What is empty or 0 matches everything.
struct TraceFilter {
  std::vector<std::uint32_t> pids;
  std::vector<DestinationPattern> destinations;
  double min_us = 0;

  bool matches(const TraceRecord& record) const;
};

// Columns, with a heading before the first line. Columns of addresses grow when a longer address
// comes (IPv6), and then the heading is repeated if `repeat_heading`.
class TraceTable {
 public:
  explicit TraceTable(bool repeat_heading) : repeat_heading_(repeat_heading) {}

  std::string heading() const;
  std::string row(const TraceRecord& record);

 private:
  bool repeat_heading_;
  std::size_t source_width_ = 15;
  std::size_t destination_width_ = 15;
};

// One line, one object.
std::string trace_json(const TraceRecord& record);

}  // namespace portpool
