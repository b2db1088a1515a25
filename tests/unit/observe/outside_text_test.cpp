// Names in the segment that somebody chose to harm whoever looks: terminals, JSON, Prometheus.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "observe/metrics.h"
#include "observe/report_text.h"
#include "observe/trace_text.h"

namespace portpool::test {
namespace {

const std::string kWild =
    "\033[2J\xC2\x9B"
    "31m\a\x7F\xE2\x80\xAE\"\\\n$(reboot)";

Report wild_report(const std::string& name) {
  Report report;
  report.version = name;
  report.pools = {name};
  LaneReport lane;
  lane.pool = name;
  lane.counts.capacity = 1;
  report.lanes = {lane};
  return report;
}

// Nothing but printable ASCII and the ends of lines.
bool is_plain(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c == '\n' || (c >= 0x20 && c < 0x7F); });
}

TEST(OutsideText, OnATerminal) {
  const std::string text = report_as_text(wild_report(kWild));
  EXPECT_TRUE(is_plain(text)) << text;
  EXPECT_NE(text.find("poold ?[2J?31m???\"\\?$(reboot) (pid"), std::string::npos) << text;
}

TEST(OutsideText, InJson) {
  for (const std::string& name : {kWild, std::string("\xFF\xC3"), std::string("gr\xC3\xBCn")}) {
    const std::string text = report_as_json(wild_report(name));
    EXPECT_TRUE(is_plain(text)) << text;
    const auto json = nlohmann::json::parse(text);
    const std::string shown = json.at("lanes").at(0).at("pool");
    EXPECT_EQ(json.at("daemon").at("version"), shown);
    EXPECT_EQ(shown, name[0] == '\xFF' ? "\xEF\xBF\xBD\xEF\xBF\xBD" : name);
  }
}

TEST(OutsideText, InATrace) {
  TraceRecord record;
  std::memcpy(static_cast<void*>(&record.comm), "\033[2J\xFF\x9B\"\\\n$(x)", 13);
  WideTraceTable wide(false);
  NarrowTraceTable narrow;
  for (TraceTable* table : std::initializer_list<TraceTable*>{&wide, &narrow}) {
    std::string row = table->row(record);
    EXPECT_EQ(std::count(row.begin(), row.end(), '\n'), 1);
    if (const std::size_t micro = row.find(" µs"); micro != row.npos) row.replace(micro, 4, " us");
    EXPECT_TRUE(is_plain(row)) << row;
  }
  EXPECT_TRUE(is_plain(trace_json(record)));
  EXPECT_TRUE(nlohmann::json::accept(trace_json(record)));
}

TEST(OutsideText, InALabel) {
  const std::string page = metrics_text(wild_report("a\"b\\c\nd"), {});
  EXPECT_NE(page.find("{pool=\"a\\\"b\\\\c\\nd\","), std::string::npos) << page;
}

}  // namespace
}  // namespace portpool::test
