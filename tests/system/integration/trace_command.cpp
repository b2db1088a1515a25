// `poold trace`: one line for each connect of programs under the shim, while somebody listens.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "observe/segment_reader.h"
#include "portpool/trace.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

using Words = std::vector<std::string>;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

Words words_of(const std::string& line) {
  std::istringstream stream(line);
  Words words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// The columns, as `words_of` a line has them.
enum Column { kTime, kPid, kComm, kPath, kSource, kSourcePort, kDestination, kPort, kUs, kResult };

// Connects COUNT times, says its own port each time, and leaves no TIME_WAIT.
GUEST(says_ports) {
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = connected_socket(SocketAddress(arguments.at(0)));
    CHECK_THAT(fd >= 0);
    say(std::to_string(local_port(fd)));
    close_with_reset(fd);
  }
}

GUEST(resets_often) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0);
    close_with_reset(fd);
  }
}

// One connect of each kind that ends in another way; errno must be the kernel's each time.
GUEST(meets_trouble) {
  const auto refused = SocketAddress("127.0.0.1:9");
  for (int i = 0; i < 2; ++i) {
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(connect_error(fd, refused) == ECONNREFUSED);
    close(fd);
  }
  const int own = tcp_socket(AF_INET);
  CHECK_THAT(bind_error(own, SocketAddress("127.0.0.1:7777")) == 0);
  errno = 77;
  CHECK_THAT(connect_error(own, SocketAddress(arguments.at(0))) == 0);
  CHECK_THAT(errno == 77);
  close_with_reset(own);
  const int waits = tcp_socket(AF_INET, SOCK_NONBLOCK);
  CHECK_THAT(connect_error(waits, SocketAddress(arguments.at(0))) == EINPROGRESS);
  CHECK_THAT(finish_connect(waits) == 0);
  close_with_reset(waits);
  const int v6 = connected_socket(SocketAddress("[::1]:9001"));
  CHECK_THAT(v6 >= 0);
  close_with_reset(v6);
}

GUEST(connects_in_a_child) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < 2; ++i) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0);
    close_with_reset(fd);
    const pid_t child = i == 0 ? fork() : -1;
    if (child > 0) {
      say(std::to_string(child));
      int status = 0;
      CHECK_THAT(waitpid(child, &status, 0) == child && status == 0);
      return;
    }
  }
}

class TraceCommand : public PooledNet {
 protected:
  TraceCommand() : reader(poold.socket()) {}

  Words command(const Words& options = {}) const {
    Words words{poold_path(), "trace", "-v", "--socket", poold.socket()};
    words.insert(words.end(), options.begin(), options.end());
    return words;
  }

  bool is_listened_to() const { return is_traced(reader.view()); }
  std::uint64_t head() const { return reader.view().hints().trace_head.load(); }

  // Ends it and returns the lines of its output, without the heading.
  static std::vector<std::string> finish(Process& trace) {
    trace.signal(SIGINT);
    EXPECT_EQ(trace.wait(), 0) << trace.err();
    EXPECT_EQ(trace.err(), "");
    std::vector<std::string> lines = lines_of(trace.out());
    if (!lines.empty() && lines[0].starts_with("TIME ")) lines.erase(lines.begin());
    return lines;
  }

  static std::vector<nlohmann::json> finish_json(Process& trace) {
    std::vector<nlohmann::json> objects;
    for (const std::string& line : finish(trace)) objects.push_back(nlohmann::json::parse(line));
    return objects;
  }

  void run(const std::string& guest, const Arguments& arguments) {
    EXPECT_EQ(run_guest(guest, poold.shim(), arguments).status, 0);
  }

  SegmentReader reader;
};

TEST_F(TraceCommand, NobodyListensNothingIsWritten) {
  run("resets_often", {kEcho, "50"});
  EXPECT_EQ(head(), 0U);
}

TEST_F(TraceCommand, EachConnectIsALineWithItsPort) {
  Process trace(command());
  trace.wait_for_output("TIME ");
  Process guest = start_guest("says_ports", poold.shim(), {kEcho, "50"});
  ASSERT_EQ(guest.wait(), 0) << guest.err();
  const auto ports = lines_of(guest.out());
  const auto lines = finish(trace);
  ASSERT_EQ(lines.size(), ports.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Words words = words_of(lines[i]);
    ASSERT_EQ(words.size(), kResult + 1U) << lines[i];
    EXPECT_EQ(words[kPid], std::to_string(guest.pid()));
    // The kernel cuts the program's name.
    EXPECT_EQ(words[kComm], std::string("integration_trace_command").substr(0, 15));
    EXPECT_EQ(words[kPath], "pool");
    EXPECT_EQ(words[kSource], "127.0.0.1");
    EXPECT_EQ(words[kSourcePort], ports[i]);
    EXPECT_EQ(words[kDestination], "127.0.0.1");
    EXPECT_EQ(words[kPort], "9001");
    EXPECT_GT(std::stod(words[kUs]), 0);
    EXPECT_EQ(words[kResult], "ok");
  }
}

TEST_F(TraceCommand, KernelsPathShowsItsPortToo) {
  Process trace(command());
  trace.wait_for_output("TIME ");
  Process guest = start_guest("says_ports", poold.shim({"PORTPOOL_MODE=observe"}), {kEcho, "5"});
  ASSERT_EQ(guest.wait(), 0) << guest.err();
  const auto ports = lines_of(guest.out());
  const auto lines = finish(trace);
  ASSERT_EQ(lines.size(), 5U);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Words words = words_of(lines[i]);
    EXPECT_EQ(words[kPath], "kernel");
    EXPECT_EQ(words[kSourcePort], ports[i]);
  }
}

TEST_F(TraceCommand, JsonTellsHowEachEnded) {
  Process trace(command({"--json"}));
  ASSERT_TRUE(eventually([&] { return is_listened_to(); }));
  run("meets_trouble", {kEcho});
  const auto calls = finish_json(trace);
  ASSERT_EQ(calls.size(), 5U);
  EXPECT_EQ(calls[0].at("result"), "ECONNREFUSED");
  EXPECT_EQ(calls[0].at("why"), "no_lane");
  EXPECT_EQ(calls[0].at("path"), "kernel");
  EXPECT_EQ(calls[0].at("arm"), "pool");
  EXPECT_EQ(calls[0].at("destination_port"), 9);
  EXPECT_EQ(calls[1].at("result"), "ECONNREFUSED");
  EXPECT_EQ(calls[2].at("why"), "own_port");
  EXPECT_EQ(calls[2].at("source_port"), 7777);
  EXPECT_EQ(calls[2].at("result"), "ok");
  EXPECT_EQ(calls[3].at("path"), "pool");
  EXPECT_EQ(calls[3].at("why"), nullptr);
  EXPECT_EQ(calls[3].at("result"), "EINPROGRESS");
  EXPECT_EQ(calls[3].at("blocking"), false);
  EXPECT_EQ(calls[4].at("blocking"), true);
  EXPECT_EQ(calls[4].at("source"), "::1");
  EXPECT_EQ(calls[4].at("destination"), "::1");
  EXPECT_EQ(calls[4].at("destination_port"), 9001);
  for (const nlohmann::json& call : calls) {
    EXPECT_GT(call.at("us").get<double>(), 0);
    EXPECT_TRUE(call.at("time").get<std::string>().ends_with("Z"));
    EXPECT_TRUE(call.at("pid").is_number_unsigned());
    EXPECT_TRUE(call.at("comm").get<std::string>().starts_with("integration"));
  }
}

TEST_F(TraceCommand, Filters) {
  poold.make_lanes({kOtherEcho});
  Process by_port(command({"--destination", "127.0.0.1:9002"}));
  Process by_prefix(command({"--destination", "127.0.0.0/8"}));
  Process by_other_prefix(command({"--destination", "10.0.0.0/8,::/0"}));
  Process by_time(command({"--min-us", "60000000"}));
  Process by_short_time(command({"--min-us", "0.001"}));
  Process by_pid(command({"-p", "1"}));
  for (Process* p : {&by_port, &by_prefix, &by_other_prefix, &by_time, &by_short_time, &by_pid}) {
    p->wait_for_output("TIME ");
  }
  Process on_demand = start_guest("echo_on_demand", poold.shim(), {kEcho});
  Process by_own_pid(command({"-p", std::to_string(on_demand.pid())}));
  by_own_pid.wait_for_output("TIME ");
  on_demand.send_line("");
  on_demand.wait_for_output("done\n");
  run("resets_often", {kOtherEcho, "3"});
  EXPECT_EQ(finish(by_port).size(), 3U);
  EXPECT_EQ(finish(by_prefix).size(), 4U);
  EXPECT_EQ(finish(by_other_prefix).size(), 0U);
  EXPECT_EQ(finish(by_time).size(), 0U);
  EXPECT_EQ(finish(by_short_time).size(), 4U);
  EXPECT_EQ(finish(by_pid).size(), 0U);
  EXPECT_EQ(finish(by_own_pid).size(), 1U);
}

TEST_F(TraceCommand, AForkedChildIsItself) {
  Process trace(command({"--json"}));
  ASSERT_TRUE(eventually([&] { return is_listened_to(); }));
  Process guest = start_guest("connects_in_a_child", poold.shim(), {kEcho});
  ASSERT_EQ(guest.wait(), 0) << guest.err();
  const auto calls = finish_json(trace);
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_EQ(calls[0].at("pid"), guest.pid());
  EXPECT_EQ(calls[1].at("pid"), std::stoi(guest.out()));
  EXPECT_EQ(calls[1].at("comm"), calls[0].at("comm"));
}

TEST_F(TraceCommand, LinesComeAtOnceIntoAPipe) {
  Process trace(
      {"sh", "-c", "\"$0\" trace -v --socket \"$1\" | cat", poold_path(), poold.socket()});
  trace.wait_for_output("TIME ");
  run("resets_often", {kEcho, "1"});
  trace.wait_for_output(" ok\n");
}

TEST_F(TraceCommand, ReaderThatGoesAwayEndsItWithoutAWord) {
  // With nothing to print, too: sed ends after the heading.
  Process idle({"bash", "-c", "\"$0\" trace -v --socket \"$1\" | sed -u 1q; echo ${PIPESTATUS[0]}",
                poold_path(), poold.socket()});
  EXPECT_EQ(idle.wait(), 0);
  EXPECT_EQ(lines_of(idle.out()).back(), "0");
  EXPECT_EQ(idle.err(), "");
  Process busy({"bash", "-c", "\"$0\" trace -v --socket \"$1\" | sed -u 3q; echo ${PIPESTATUS[0]}",
                poold_path(), poold.socket()});
  busy.wait_for_output("TIME ");
  run("resets_often", {kEcho, "2000"});
  EXPECT_EQ(busy.wait(), 0);
  EXPECT_EQ(lines_of(busy.out()).back(), "0");
  EXPECT_EQ(busy.err(), "");
}

TEST_F(TraceCommand, ReaderThatDoesNotReadCannotKeepIt) {
  Process trace(
      {"bash", "-c", "\"$0\" trace -v --socket \"$1\" | sleep 1000", poold_path(), poold.socket()});
  ASSERT_TRUE(eventually([&] { return is_listened_to(); }));
  run("resets_often", {kEcho, "3000"});  // more than a pipe holds
  kill(-trace.pid(), SIGINT);
  trace.wait();
}

TEST_F(TraceCommand, SaysHowManyItLost) {
  Process slow(command());
  Process fast(command());  // keeps the trace on meanwhile
  slow.wait_for_output("TIME ");
  fast.wait_for_output("TIME ");
  slow.signal(SIGSTOP);
  const std::uint64_t more = reader.view().trace_count() + 500;
  run("resets_often", {kEcho, std::to_string(more)});
  ASSERT_EQ(head(), more);
  slow.signal(SIGINT);
  slow.signal(SIGCONT);
  EXPECT_EQ(slow.wait(), 0);
  const std::size_t shown = lines_of(slow.out()).size() - 1;
  EXPECT_LE(shown, more - 500);
  EXPECT_TRUE(
      slow.err().starts_with("poold: " + std::to_string(more - shown) + " calls are missing"))
      << shown << " shown; " << slow.err();
}

TEST_F(TraceCommand, AKilledOneStopsTheTrace) {
  Process trace(command());
  trace.wait_for_output("TIME ");
  EXPECT_TRUE(is_listened_to());
  trace.signal(SIGKILL);
  trace.wait();
  EXPECT_TRUE(eventually([&] { return !is_listened_to(); }));
  const std::uint64_t before = head();
  run("resets_often", {kEcho, "20"});
  EXPECT_EQ(head(), before);
}

TEST_F(TraceCommand, OutlivesItsFirstLease) {
  Process trace(command());
  trace.wait_for_output("TIME ");
  const std::uint64_t start = reader.view().header().heartbeat.load();
  ASSERT_TRUE(eventually(
      [&] { return reader.view().header().heartbeat.load() > start + kTraceLeaseBeats + 5; }));
  run("resets_often", {kEcho, "1"});
  trace.wait_for_output(" ok\n");
}

TEST_F(TraceCommand, EndsWellBySignalAndByTime) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    Process trace(command());
    trace.wait_for_output("TIME ");
    trace.signal(number);
    EXPECT_EQ(trace.wait(), 0);
    EXPECT_EQ(trace.err(), "");
  }
  Process trace(command({"--duration", "0.2"}));
  EXPECT_EQ(trace.wait(), 0);
  EXPECT_EQ(trace.err(), "");
}

TEST_F(TraceCommand, WithoutADaemonItSaysSo) {
  poold.stop();
  Process none(command());
  EXPECT_EQ(none.wait(), 2);
  EXPECT_NE(none.err().find("no poold is running"), std::string::npos) << none.err();
  EXPECT_EQ(none.out(), "");
}

TEST_F(TraceCommand, GoesOnWithTheNextDaemon) {
  Process trace(command());
  trace.wait_for_output("TIME ");
  const auto said = [&](const char* words) {
    return eventually([&] { return trace.err().find(words) != std::string::npos; });
  };
  poold.kill();
  EXPECT_TRUE(said("no heartbeat")) << trace.err();
  poold.restart();
  EXPECT_TRUE(said("there is a daemon again")) << trace.err();
  run("resets_often", {kEcho, "1"});
  trace.wait_for_output(" ok");
  poold.stop();
  EXPECT_TRUE(said("has ended")) << trace.err();
  trace.signal(SIGINT);
  EXPECT_EQ(trace.wait(), 0);
}

TEST_F(TraceCommand, OneThatWasStoppedForAWhile) {
  Process trace(command());
  trace.wait_for_output("TIME ");
  poold.process().signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return trace.err().find("no heartbeat") != std::string::npos; }));
  poold.process().signal(SIGCONT);
  ASSERT_TRUE(eventually([&] { return trace.err().find("again") != std::string::npos; }));
  run("resets_often", {kEcho, "1"});
  trace.wait_for_output(" ok");
}

TEST_F(TraceCommand, EightyColumns) {
  Process trace({poold_path(), "trace", "--socket", poold.socket()});
  trace.wait_for_output("TIME ");
  run("meets_trouble", {kEcho});
  trace.signal(SIGINT);
  ASSERT_EQ(trace.wait(), 0) << trace.err();
  const auto lines = lines_of(trace.out());
  ASSERT_EQ(lines.size(), 6U) << trace.out();
  for (const std::string& line : lines) EXPECT_LE(line.size(), 81U) << line;  // one is in the "µ"
  EXPECT_TRUE(lines[1].ends_with(" no_lane ECONNREFUSED")) << lines[1];
  EXPECT_TRUE(lines[3].ends_with(" own_port")) << lines[3];
  EXPECT_TRUE(lines[4].ends_with(" pool EINPROGRESS")) << lines[4];
  EXPECT_NE(lines[5].find("[::1]:9001"), std::string::npos) << lines[5];
}

TEST_F(TraceCommand, FailuresAndNames) {
  Process failed(command({"--fail"}));
  Process named(command({"--comm", "integration_tra,x"}));
  Process others(command({"--comm", "nginx"}));
  for (Process* p : {&failed, &named, &others}) p->wait_for_output("TIME ");
  run("meets_trouble", {kEcho});
  EXPECT_EQ(finish(failed).size(), 2U);
  EXPECT_EQ(finish(named).size(), 5U);
  EXPECT_EQ(finish(others).size(), 0U);
}

TEST_F(TraceCommand, CountsByDestinationReasonAndError) {
  // What was called before the signal is counted: the last look comes after it.
  const auto counted = [&](Process& trace) {
    ASSERT_TRUE(eventually([&] { return is_listened_to(); }));
    run("resets_often", {kEcho, "7"});
    run("meets_trouble", {kEcho});
    trace.signal(SIGINT);
    ASSERT_EQ(trace.wait(), 0) << trace.err();
    ASSERT_TRUE(eventually([&] { return !is_listened_to(); }));
  };
  Process text(command({"--count"}));
  counted(text);
  Process json(command({"--count", "--json"}));
  counted(json);
  const auto lines = lines_of(text.out());
  ASSERT_GE(lines.size(), 2U) << text.out();
  EXPECT_EQ(words_of(lines[1])[0], "7") << text.out();
  EXPECT_TRUE(lines[1].ends_with("127.0.0.1:9001        pool")) << lines[1];
  std::uint64_t calls = 0;
  const nlohmann::json kinds = nlohmann::json::parse(json.out()).at("kinds");
  for (const nlohmann::json& kind : kinds) calls += kind.at("calls").get<std::uint64_t>();
  EXPECT_EQ(calls, 12U) << kinds;
  EXPECT_EQ(kinds.at(0).at("way"), "pool");
  EXPECT_EQ(kinds.at(0).at("result"), "ok");
}

TEST_F(TraceCommand, WrongUsage) {
  for (const Words& options :
       {Words{"--destination", "nonsense"}, Words{"--min-us", "-1"}, Words{"--duration", "0"},
        Words{"-p", "x"}, Words{"--no-such-option"}}) {
    Process trace(command(options));
    EXPECT_EQ(trace.wait(), 2) << options[0];
    EXPECT_NE(trace.err(), "");
  }
}

}  // namespace
}  // namespace portpool::test
