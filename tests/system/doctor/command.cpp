// The command itself: its exit status, its ways of writing, wrong usage.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "system/doctor/common.h"

namespace portpool::test {
namespace {

TEST_F(ServedNet, ExitStatusIsTheGravest) {
  EXPECT_EQ(diagnose().report.at("status"), "warn");  // the small range
  EXPECT_EQ(diagnose().status, 1);
  net.set_port_range(20000, 29999);
  Diagnosis d = diagnose();
  EXPECT_EQ(d.status, 0) << d.out;
  EXPECT_EQ(d.report.at("status"), "ok");
  EXPECT_TRUE(diagnose_as_text().out.starts_with("Nothing wrong found\n"));
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "20000-29999");
  d = diagnose();
  EXPECT_EQ(d.status, 2);
  EXPECT_EQ(d.report.at("status"), "fail");
  EXPECT_EQ(d.report.at("checks").at(0).at("status"), "fail");
  EXPECT_TRUE(diagnose_as_text().out.starts_with("[FAIL] "));
}

// What is wrong stays on a screen of 80x24: what is in order is only counted, and the last line
// names the findings once more.
TEST_F(ServedNet, OnlyFindingsUnlessAllIsAskedFor) {
  const std::string text = diagnose_as_text().out;
  std::istringstream lines(text);
  std::size_t count = 0;
  std::string last;
  for (std::string line; std::getline(lines, line); ++count) {
    if (!line.starts_with("       do: ")) {
      EXPECT_LE(line.size(), 80U) << line;
    }
    EXPECT_FALSE(line.starts_with("[ OK ]")) << line;
    last = line;
  }
  EXPECT_LE(count, 24U) << text;
  EXPECT_TRUE(text.starts_with("[WARN] port-range: ")) << text;
  const std::size_t checks = diagnose().report.at("checks").size();
  const std::string expected = std::to_string(checks) + " checks: 1 with a warning (port-range), " +
                               std::to_string(checks - 1) + " ok";
  EXPECT_EQ(last, expected + " (--all shows them)");
  const std::string all = diagnose_as_text({"--all"}).out;
  EXPECT_NE(all.find("\n[ OK ] tw-reuse: "), std::string::npos) << all;
  EXPECT_TRUE(all.ends_with(expected + "\n")) << all;
}

TEST_F(ServedNet, EveryCheckAppearsOnce) {
  std::set<std::string> names;
  const nlohmann::json report = diagnose().report;
  for (const nlohmann::json& check : report.at("checks")) {
    EXPECT_TRUE(names.insert(check.at("name")).second) << check;
  }
  EXPECT_GE(names.size(), 20U);
}

TEST_F(ServedNet, WrongUsage) {
  const std::pair<std::vector<std::string>, const char*> wrong[] = {
      {{"--destination", "127.0.0.1"}, "HOST:PORT"},
      {{"--destination", "127.0.0.1:"}, "HOST:PORT"},
      {{"--destination", ":443"}, "HOST:PORT"},
      {{"--destination", "127.0.0.1:0"}, "65535"},
      {{"--destination", "127.0.0.1:65536"}, "65535"},
      {{"--destination", "127.0.0.1:443x"}, "65535"},
      {{"--destination", "2001:db8::1:443"}, "brackets"},
      {{"--destination", "[127.0.0.1]:443"}, "brackets"},
      {{"--destination", "[::1]443"}, "[2001:db8::1]:443"},
      {{"--destination", "no-such-host.invalid:443"}, "no-such-host.invalid"},
      {{"--destination", "no such host:443"}, "no such host"},
      {{"--watch", "often"}, "seconds"},
      {{"--watch", "0"}, "seconds"},
      {{"--watch", "-1"}, ""},
      {{"--config", "/nonexistent/poold.toml"}, "/nonexistent/poold.toml"},
      {{"--no-such-option"}, ""},
      {{"argument"}, ""}};
  for (const auto& [options, mentioned] : wrong) {
    const Diagnosis d = diagnose_as_text(options);
    EXPECT_EQ(d.status, 2) << options.back() << d.out;
    EXPECT_EQ(d.out, "") << options.back();
    EXPECT_NE(d.err, "") << options.back();
    EXPECT_NE(d.err.find(mentioned), std::string::npos) << d.err;
  }
}

TEST_F(ServedNet, WatchingInJson) {
  Process process({poold_path(), "doctor", "--json", "--watch", "0.1"});
  const auto lines = [&] {
    const std::string out = process.out();
    return std::count(out.begin(), out.end(), '\n');
  };
  EXPECT_TRUE(eventually([&] { return lines() >= 3; }));
  process.signal(SIGINT);
  EXPECT_EQ(process.wait(), 1) << process.err();  // of the last look: the small range
  const std::string out = process.out();
  for (std::size_t begin = 0; begin < out.size();) {
    const std::size_t end = out.find('\n', begin);
    EXPECT_EQ(nlohmann::json::parse(out.substr(begin, end - begin)).at("schema"), 1);
    begin = end + 1;
  }
}

TEST_F(ServedNet, WatchingWithoutAnInterval) {
  Process process({poold_path(), "doctor", "--watch"});
  process.wait_for_output(" checks: ");
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 1) << process.err();
  EXPECT_EQ(process.out().find('\033'), std::string::npos);
}

// While watching, counters count from one look to the next.
TEST_F(ServedNet, WatchingSeesWhatIsNew) {
  net.set_sysctl("net.ipv4.tcp_max_tw_buckets", "3000");
  Process process({poold_path(), "doctor", "--watch", "0.2"});
  process.wait_for_output(" checks: ");
  net.set_sysctl("net.ipv4.tcp_max_tw_buckets", "10");
  for (int i = 0; i < 30; ++i) close(connected_socket(SocketAddress(kServer)));
  process.wait_for_output("since the last look");
}

TEST_F(ServedNet, NobodyReads) {
  for (const char* command : {"doctor", "doctor --json", "doctor --watch 0.1"}) {
    const std::string program = poold_path() + " " + command;
    for (const char* trap : {"", "trap '' PIPE; "}) {  // as under systemd
      Process process({"bash", "-c", trap + program + " | true; exit ${PIPESTATUS[0]}"});
      EXPECT_EQ(process.wait(), 1) << command << trap;
      EXPECT_EQ(process.err(), "") << command << trap;
    }
  }
}

TEST_F(ServedNet, OutputThatCannotBeWritten) {
  Process process({"sh", "-c", poold_path() + " doctor >/dev/full"});
  EXPECT_EQ(process.wait(), 2);
  EXPECT_NE(process.err().find("cannot write"), std::string::npos) << process.err();
}

TEST_F(ServedNet, ColoursOnlyOnATerminalThatWantsThem) {
  const auto on_terminal = [](const std::vector<std::string>& environment) {
    Process process({"script", "-qec", poold_path() + " doctor", "/dev/null"}, environment);
    process.wait();
    return process.out();
  };
  EXPECT_NE(on_terminal({"TERM=xterm", "NO_COLOR"}).find("\033["), std::string::npos);
  EXPECT_EQ(on_terminal({"TERM=xterm", "NO_COLOR=1"}).find('\033'), std::string::npos);
  EXPECT_EQ(on_terminal({"TERM=dumb", "NO_COLOR"}).find('\033'), std::string::npos);
}

}  // namespace
}  // namespace portpool::test
