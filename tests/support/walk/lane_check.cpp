#include "support/walk/lane_check.h"

#include <algorithm>

namespace portpool::test {
namespace {

int count_open(const std::set<std::uint16_t>& ports, std::pair<int, int> range,
               const std::set<std::uint16_t>& blocked) {
  return static_cast<int>(std::count_if(ports.begin(), ports.end(), [&](std::uint16_t port) {
    return port >= range.first && port <= range.second && !blocked.contains(port);
  }));
}

class LaneComparison {
 public:
  explicit LaneComparison(const nlohmann::json& lane) : lane_(lane) {}

  void expect(const std::string& what, int found, int wanted) {
    if (found == wanted) return;
    text_ += " " + what + " " + std::to_string(found) + ", the kernel's table says " +
             std::to_string(wanted) + ";";
  }
  int number(const char* field) const { return lane_.at(field).get<int>(); }
  std::string differences() const {
    if (text_.empty()) return "";
    return "lane " + lane_.at("source").get<std::string>() + " -> " +
           lane_.at("destination").get<std::string>() + ":" + text_ + " " + lane_.dump() + "\n";
  }

 private:
  const nlohmann::json& lane_;
  std::string text_;
};

}  // namespace

LaneDifferences lane_differences(const nlohmann::json& status, const std::vector<TableRow>& table,
                                 std::pair<int, int> port_range,
                                 const std::set<std::uint16_t>& blocked) {
  LaneDifferences differences;
  const int capacity = port_range.second - port_range.first + 1;
  const int blocked_count = count_open(blocked, port_range, {});
  for (const nlohmann::json& lane : status.at("lanes")) {
    const TablePorts ports = ports_between(table, lane.at("source").get<std::string>(),
                                           lane.at("destination").get<std::string>());
    const int used = count_open(ports.used, port_range, blocked);
    const int waiting = count_open(ports.waiting, port_range, blocked);
    LaneComparison comparison(lane);
    const int reusable = comparison.number("reusable");
    comparison.expect("capacity", comparison.number("capacity"), capacity);
    comparison.expect("blocked", comparison.number("blocked"), blocked_count);
    comparison.expect("in_use", comparison.number("in_use"), used);
    comparison.expect("quarantined + reusable", comparison.number("quarantined") + reusable,
                      waiting);
    const int free = comparison.number("free") - reusable;
    const int unused = capacity - blocked_count - used - waiting;
    comparison.expect("free - reusable", free, unused);
    differences.text += comparison.differences();
    differences.ports_lost += std::max(unused - free, 0);
  }
  return differences;
}

}  // namespace portpool::test
