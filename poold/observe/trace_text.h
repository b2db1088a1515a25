// Trace records as people and programs read them, and which of them they want.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "lanes/rules.h"
#include "portpool/trace.h"

namespace portpool {

// What is empty or 0 matches everything.
struct TraceFilter {
  std::vector<std::uint32_t> pids;
  std::vector<DestinationPattern> destinations;
  std::vector<std::string> comms;  // as the kernel cuts them: 15 bytes
  double min_us = 0;
  bool failed = false;  // only calls that ended with an error other than EINPROGRESS

  bool matches(const TraceRecord& record) const;
};

// Lines of columns, with a heading before the first.
class TraceTable {
 public:
  virtual ~TraceTable() = default;
  virtual std::string heading() const = 0;
  virtual std::string row(const TraceRecord& record) = 0;
};

// What fits into 80 columns: longer names and addresses are cut in the middle.
class NarrowTraceTable : public TraceTable {
 public:
  std::string heading() const override;
  std::string row(const TraceRecord& record) override;
};

// All of it. Columns of addresses grow when a longer address comes (IPv6), and then the heading is
// repeated if `repeat_heading`.
class WideTraceTable : public TraceTable {
 public:
  explicit WideTraceTable(bool repeat_heading) : repeat_heading_(repeat_heading) {}

  std::string heading() const override;
  std::string row(const TraceRecord& record) override;

 private:
  bool repeat_heading_;
  std::size_t source_width_ = 15;
  std::size_t destination_width_ = 15;
};

// How many calls there were of each kind: destination, path or reason, and result.
class TraceCount {
 public:
  void add(const TraceRecord& record);
  // The most frequent first; at most `most` kinds, and what is left in one line.
  std::string as_text(std::size_t most = 40) const;
  std::string as_json() const;

 private:
  struct Sum {
    std::uint64_t calls = 0;
    double us = 0;
    double longest_us = 0;
  };
  using Kind = std::tuple<std::string, std::string, std::string>;
  std::vector<std::pair<Kind, Sum>> sorted() const;

  std::map<Kind, Sum> sums_;
};

// One line, one object.
std::string trace_json(const TraceRecord& record);

}  // namespace portpool
