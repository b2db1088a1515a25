// The record of the last hour: an incident that is over is found in it.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "lanes/segment.h"
#include "support/holder.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

using Words = std::vector<std::string>;
using nlohmann::json;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Connects COUNT times, whatever becomes of it.
GUEST(try_connects) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = connected_socket(destination);
    if (fd >= 0) close_with_reset(fd);
  }
}

GUEST(try_connects_on_demand) {
  const SocketAddress destination(arguments.at(0));
  for (;;) {
    await_line();
    const int fd = connected_socket(destination);
    if (fd >= 0) close_with_reset(fd);
    say("done");
  }
}

class HistoryCommand : public PooledNet {
 protected:
  GuestResult since(const Words& more) const {
    Words words{poold_path(), "status", "--socket", poold.socket(), "--since"};
    words.insert(words.end(), more.begin(), more.end());
    Process process(words);
    GuestResult result;
    result.status = process.wait();
    result.out = process.out();
    result.err = process.err();
    return result;
  }
  std::string text(const std::string& span = "10m") const { return since({span}).out; }
  // Null where there is nothing yet.
  json look(const std::string& span = "10m") const {
    const GuestResult result = since({span, "--json"});
    return result.out.empty() ? json() : json::parse(result.out);
  }
  json doctors_check() const {
    Process doctor({poold_path(), "doctor", "--json", "--socket", poold.socket()});
    doctor.wait();
    const json report = json::parse(doctor.out());
    for (const json& check : report.at("checks")) {
      if (check.at("name") == "connects") return check;
    }
    return json();
  }
  template <class Condition>
  bool eventually_recorded(Condition condition) const {
    return eventually([&] {
      const json now = look();
      return !now.is_null() && condition(now);
    });
  }
  void connect(int count) const {
    EXPECT_EQ(run_guest("try_connects", poold.shim(), {kEcho, std::to_string(count)}),
              GuestResult{});
  }
  static std::uint64_t failed(const json& record) {
    return record.at("results").value("EADDRNOTAVAIL", std::uint64_t{0});
  }
};

TEST_F(HistoryCommand, AnExhaustedLaneIsFoundAfterwards) {
  connect(50);
  ASSERT_TRUE(
      eventually_recorded([](const json& now) { return now.at("connects").at("pool") >= 50; }));
  net.set_port_range(kLowPort, kLowPort + 99);
  {
    const Holder holder(SocketAddress(kEcho), 1000);
    EXPECT_LE(holder.held(), 100U);
    ASSERT_TRUE(poold.eventually_status([](const json& status) {
      const json lane = lane_of(status, kEcho);
      return !lane.is_null() && lane.at("capacity") == 100 && lane.at("free") == 0;
    }));
    connect(200);
    ASSERT_TRUE(eventually_recorded([](const json& now) { return failed(now) >= 100; }));
    const json check = doctors_check();
    EXPECT_EQ(check.at("status"), "fail") << check;
    EXPECT_TRUE(has(check.at("summary"), "since ")) << check;
    EXPECT_TRUE(has(check.at("summary"), "failed with EADDRNOTAVAIL")) << check;
    EXPECT_TRUE(has(check.at("summary"), "mostly because of lane_full")) << check;
    EXPECT_EQ(check.at("fix"), "poold explain lane_full");
  }
  net.set_port_range(kLowPort, kHighPort);
  ASSERT_TRUE(poold.eventually_status([](const json& status) {
    const json lane = lane_of(status, kEcho);
    return !lane.is_null() && lane.at("free") > 9000;
  }));
  connect(50);
  ASSERT_TRUE(
      eventually_recorded([](const json& now) { return now.at("connects").at("pool") >= 100; }));
  EXPECT_TRUE(eventually([&] {
    connect(20);
    return doctors_check().at("status") == "ok";
  })) << doctors_check();

  const json record = look();
  EXPECT_GE(record.at("fallbacks").value("lane_full", 0), 100) << record.at("fallbacks");
  const json& worst = record.at("worst");
  const auto of_kind = [&](const std::string& what) {
    for (const json& moment : worst) {
      if (moment.at("what") == what) return moment;
    }
    return json();
  };
  ASSERT_FALSE(of_kind("errors").is_null()) << worst;
  EXPECT_GT(failed(of_kind("errors")), 0U);
  ASSERT_FALSE(of_kind("fullest_lane").is_null()) << worst;
  bool full = false;
  for (const json& sample : record.at("samples")) {
    if (sample.at("errors") == 0) continue;
    for (const json& lane : sample.at("fullest_lanes")) {
      full |= lane.at("destination") == kEcho && lane.at("free") == 0;
    }
  }
  EXPECT_TRUE(full) << record.at("samples");

  const std::string shown = text();
  for (const char* part :
       {"TCP connects", "failed, most with EADDRNOTAVAIL", "lane_full",
        "fullest lane: 0 of 100 ports free toward 127.0.0.1:9001", "The record begins at"}) {
    EXPECT_TRUE(has(shown, part)) << part << "\n" << shown;
  }
  std::istringstream lines(shown);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size() - static_cast<std::size_t>(std::count(line.begin(), line.end(), '\xC2')),
              80U)
        << line;
  }
}

TEST_F(HistoryCommand, AStoppedDaemonIsFoundAfterwards) {
  Process guest = start_guest("try_connects_on_demand", poold.shim(), {kEcho});
  std::string done;
  const auto once = [&] {
    done += "done\n";
    guest.send_line("");
    return eventually([&] { return guest.out() == done; });
  };
  ASSERT_TRUE(once());
  ASSERT_TRUE(eventually_recorded([](const json&) { return true; }));
  poold.process().signal(SIGSTOP);
  // Longer than a sample may be late.
  std::this_thread::sleep_for(std::chrono::seconds(4));
  EXPECT_TRUE(eventually([&] {
    if (!once()) return false;
    return fallbacks(poold.status(), "stale_heartbeat") > 0;
  }));
  // It cannot write, and can be looked at all the same.
  EXPECT_TRUE(has(text(), "nothing is recorded since")) << text();
  poold.process().signal(SIGCONT);
  ASSERT_TRUE(eventually_recorded([](const json& now) {
    return now.at("alive") == true && now.at("fallbacks").value("stale_heartbeat", 0) > 0;
  }));
  const json record = look();
  double still = 0;
  for (const json& sample : record.at("samples")) {
    still = std::max(still, sample.at("stood_still_s").get<double>());
  }
  EXPECT_GT(still, 0);
  EXPECT_TRUE(has(text(), "poold stood still for")) << text();
  EXPECT_TRUE(has(text(), "stale_heartbeat")) << text();
  guest.signal(SIGKILL);
  guest.wait();
}

TEST_F(HistoryCommand, ASuccessorGoesOnWithIt) {
  connect(300);
  ASSERT_TRUE(
      eventually_recorded([](const json& now) { return now.at("connects").at("pool") >= 300; }));
  const json before = look();
  poold.take_over();
  connect(300);
  ASSERT_TRUE(
      eventually_recorded([](const json& now) { return now.at("connects").at("pool") >= 600; }));
  const json after = look();
  EXPECT_EQ(after.at("record_begins"), before.at("record_begins"));
  EXPECT_GT(after.at("samples").size(), before.at("samples").size());
}

TEST_F(HistoryCommand, AfterKillItBeginsAnewAndSaysSo) {
  connect(300);
  ASSERT_TRUE(
      eventually_recorded([](const json& now) { return now.at("connects").at("pool") >= 300; }));
  const json before = look();
  poold.kill();
  const GuestResult none = since({"10m"});
  EXPECT_EQ(none.status, 2);
  EXPECT_TRUE(has(none.err, "no poold is running")) << none.err;
  poold.restart();
  ASSERT_TRUE(eventually_recorded([](const json&) { return true; }));
  const json after = look();
  EXPECT_GT(after.at("record_begins"), before.at("record_begins"));
  EXPECT_EQ(after.at("record_begins_with_daemon"), true);
  EXPECT_EQ(after.at("complete"), false);
  EXPECT_LT(after.at("connects").at("pool"), 300);
  EXPECT_TRUE(has(text(), "The record begins at")) << text();
}

TEST_F(HistoryCommand, OnlyWhatWasAskedForIsTold) {
  connect(300);
  ASSERT_TRUE(
      eventually_recorded([](const json& now) { return now.at("connects").at("pool") >= 300; }));
  ASSERT_TRUE(eventually([&] { return look("2s").at("connects").at("pool") == 0; }));
  EXPECT_EQ(look("2s").at("complete"), true);
  EXPECT_TRUE(has(text("2s"), "no TCP connect")) << text("2s");
  EXPECT_FALSE(has(text("2s"), "The record begins")) << text("2s");
  EXPECT_GE(look("1h").at("connects").at("pool"), 300);
}

TEST_F(HistoryCommand, BadTimesGetWords) {
  for (const char* bad : {"10", "abc", "0s", "-5m", "10 m", "1d", "5mm", "", "1.5h",
                          "99999999999999999999s", "9999999h"}) {
    const GuestResult result = since({bad});
    EXPECT_EQ(result.status, 2) << bad;
    EXPECT_TRUE(has(result.err, "is no time like 90s, 10m or 1h")) << bad << ": " << result.err;
  }
}

// Readers meet what another process has written.
TEST_F(EchoNet, AReaderLivesThroughAnything) {
  Segment segment({.lanes = 4, .shards = 1}, {});
  segment.publish();
  const TempDir directory;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  directory.file("socket").copy(address.sun_path, sizeof address.sun_path - 1);
  const Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 100), 0);
  std::mt19937_64 random(5);
  History& history = segment.writer().history();
  auto* words = reinterpret_cast<std::uint64_t*>(&history);
  for (int round = 0; round < 5; ++round) {
    for (std::size_t i = 0; i < sizeof history / 8; ++i) words[i] = random();
    for (std::size_t i = 0; i < kFineSamples; ++i) {
      if (random() % 4 != 0) history.fine[i].sequence = 2 * i + 2;
    }
    for (const Words& command :
         {Words{"status", "--since", "1h"}, Words{"status", "--since", "1h", "--json"},
          Words{"doctor"}, Words{"top", "--once"}}) {
      Words all{poold_path()};
      all.insert(all.end(), command.begin(), command.end());
      all.insert(all.end(), {"--socket", directory.file("socket")});
      Process process(all);
      // The daemon that it looks at has no heartbeat: a warning. A signal would be 128 and more.
      const int status = process.wait();
      EXPECT_TRUE(status >= 0 && status <= 3) << command.front() << status << process.err();
      EXPECT_FALSE(process.out().empty()) << command.front() << process.err();
      EXPECT_FALSE(has(process.out(), "\x1b"));
    }
  }
}

// 2 MiB of other people's affairs: neither address space nor locked memory of a program.
TEST_F(HistoryCommand, ProgramsDoNotMapIt) {
  Process guest = start_guest("try_connects_on_demand", poold.shim(), {kEcho});
  guest.send_line("");
  guest.wait_for_output("done");
  std::ifstream maps("/proc/" + std::to_string(guest.pid()) + "/maps");
  std::uint64_t mapped = 0;
  for (std::string line; std::getline(maps, line);) {
    if (!has(line, "portpool-structure")) continue;
    std::uint64_t from = 0;
    std::uint64_t to = 0;
    char dash = 0;
    std::istringstream(line) >> std::hex >> from >> dash >> to;
    mapped += to - from;
  }
  EXPECT_GT(mapped, 0U);
  EXPECT_LT(mapped, std::uint64_t{1} << 20);
  guest.signal(SIGKILL);
  guest.wait();
}

}  // namespace
}  // namespace portpool::test
