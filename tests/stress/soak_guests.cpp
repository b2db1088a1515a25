// What tests/soak needs of the stress test, as guests of its program: a server that echoes, and the
// comparison of lanes with the kernel's table.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "support/echo_server.h"
#include "support/guest.h"
#include "support/walk/lane_check.h"

namespace portpool::test {
namespace {

std::pair<int, int> range_at(const Arguments& arguments, std::size_t i) {
  return {std::stoi(arguments.at(i)), std::stoi(arguments.at(i + 1))};
}

}  // namespace

// PORT...: until its standard input ends.
GUEST(soak_echo) {
  std::vector<std::uint16_t> ports;
  for (const std::string& port : arguments) {
    ports.push_back(static_cast<std::uint16_t>(std::stoi(port)));
  }
  const EchoServer server(ports);
  say("listens");
  await_line();
}

// SOCKET SECONDS LOW HIGH [POOL LOW HIGH]...: waits for so long until each lane has agreed with the
// kernel's table, says in what those do not that never have, and ends with 1 then. LOW and HIGH:
// the ports that lanes have, those of the POOL named or of all others. Each for itself: entries in
// TIME_WAIT go all the time, and on a busy machine the table is never twice the same.
GUEST(soak_lanes) {
  std::map<std::string, std::pair<int, int>> ranges;
  for (std::size_t i = 4; i + 2 < arguments.size(); i += 3) {
    ranges[arguments[i]] = range_at(arguments, i + 1);
  }
  std::set<std::string> good;
  std::string differences;
  const auto agree = [&] {
    const std::vector<TableRow> before = read_kernel_table();
    Process command({poold_path(), "status", "--json"}, {"PORTPOOL_SOCKET=" + arguments.at(0)});
    CHECK_THAT(command.wait() <= 1);
    const nlohmann::json status = nlohmann::json::parse(command.out());
    const std::vector<TableRow> after = read_kernel_table();
    differences.clear();
    for (const nlohmann::json& lane : status.at("lanes")) {
      const std::string pool = lane.at("pool").get<std::string>();
      const std::string name = pool + " " + lane.at("source").get<std::string>() + " " +
                               lane.at("destination").get<std::string>();
      if (good.contains(name)) continue;
      const auto named = ranges.find(pool);
      const auto range = named != ranges.end() ? named->second : range_at(arguments, 2);
      const nlohmann::json alone = {{"lanes", nlohmann::json::array({lane})}};
      const std::string text = lane_differences(alone, before, range, {}).text;
      if (text.empty() || lane_differences(alone, after, range, {}).text.empty()) {
        good.insert(name);
      }
      if (!good.contains(name)) differences += text;
    }
    return differences.empty();
  };
  const bool agreed = eventually(agree, std::chrono::seconds(std::stoi(arguments.at(1))));
  if (!agreed) say(differences);
  CHECK_THAT(agreed);
}

}  // namespace portpool::test
