// `poold top`, in a real terminal emulator (tmux) and without a terminal.
#include <signal.h>

#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>

#include "support/holder.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

using Words = std::vector<std::string>;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A terminal of tmux's, in a server of its own.
class Terminal {
 public:
  Terminal(int width, int height, const std::string& command)
      : server_({"tmux", "-S", socket(), "-u", "-f", "/dev/null", "-D"},
                {"TMUX", "LC_ALL=C.UTF-8"}) {
    const bool started = eventually([&] {
      return run({"new-session", "-d", "-x", std::to_string(width), "-y", std::to_string(height),
                  command})
          .has_value();
    });
    if (!started) throw std::runtime_error("no tmux: " + server_.err());
  }

  // The screen's lines; with `escapes` also its colours and attributes.
  std::string screen(bool escapes = false) const {
    return run(escapes ? Words{"capture-pane", "-p", "-e"} : Words{"capture-pane", "-p"})
        .value_or("");
  }
  bool shows(const std::string& text) const {
    return eventually([&] { return has(screen(), text); });
  }
  bool hides(const std::string& text) const {
    return eventually([&] { return !has(screen(), text); });
  }
  void press(const std::string& key) const { run({"send-keys", key}); }
  void resize(int width, int height) const {
    run({"resize-window", "-x", std::to_string(width), "-y", std::to_string(height)});
  }
  // The command that the shell in the terminal runs.
  pid_t child_of_shell() const {
    const std::string shell =
        std::to_string(std::stoi(run({"display-message", "-p", "#{pane_pid}"}).value()));
    pid_t child = 0;
    std::ifstream("/proc/" + shell + "/task/" + shell + "/children") >> child;
    return child;
  }

 private:
  std::string socket() const { return directory_.file("tmux"); }
  std::optional<std::string> run(const Words& words) const {
    Words command{"tmux", "-N", "-S", socket()};
    command.insert(command.end(), words.begin(), words.end());
    Process process(command, {"TMUX"});
    if (process.wait() != 0) return std::nullopt;
    return process.out();
  }

  TempDir directory_;
  Process server_;
};

class TopCommand : public PooledNet {
 protected:
  Words command(const Words& options = {}) const {
    Words words{poold_path(), "top", "--socket", poold.socket()};
    words.insert(words.end(), options.begin(), options.end());
    return words;
  }

  // For a terminal: says afterwards how it ended and whether the terminal is as before.
  std::string on_screen(const std::string& environment = "", const std::string& more = "") const {
    return "echo before; env " + environment + " " + poold_path() +
           " top --interval 0.2 --socket " + poold.socket() + " " + more +
           "; echo status=$?; stty -a | grep -o -e ' icanon' -e ' echo '; exec sleep 1000";
  }

  static void expect_given_back(const Terminal& terminal, int status) {
    EXPECT_TRUE(terminal.shows("status=" + std::to_string(status))) << terminal.screen();
    EXPECT_TRUE(terminal.shows("before")) << terminal.screen();
    EXPECT_TRUE(terminal.shows(" icanon")) << terminal.screen();
    EXPECT_TRUE(terminal.shows(" echo")) << terminal.screen();
    EXPECT_FALSE(has(terminal.screen(), "alive"));
  }
};

struct Size {
  int width;
  int height;
};

TEST_F(TopCommand, ShowsHealthRatesAndLanesAtAnySize) {
  for (const Size size : {Size{80, 24}, Size{132, 50}, Size{30, 8}, Size{20, 5}}) {
    const Terminal terminal(size.width, size.height, on_screen());
    EXPECT_TRUE(terminal.shows("alive")) << terminal.screen();
    EXPECT_TRUE(terminal.shows("pool 0")) << terminal.screen();
    EXPECT_TRUE(terminal.shows("127.0.0.1:9001")) << terminal.screen();
    terminal.press("q");
    EXPECT_TRUE(terminal.shows("status=0")) << terminal.screen();
  }
}

TEST_F(TopCommand, ShowsConnectsAsTheyHappen) {
  const Terminal terminal(80, 24, on_screen());
  ASSERT_TRUE(terminal.shows("no connects in the last")) << terminal.screen();
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "50"}), GuestResult{});
  EXPECT_TRUE(terminal.shows("pool   pool   blocking          50")) << terminal.screen();
  terminal.press("g");
  EXPECT_TRUE(terminal.shows("POOL 50")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("\u2588")) << terminal.screen();
  terminal.press("g");
  EXPECT_TRUE(terminal.hides("POOL 50")) << terminal.screen();
}

TEST_F(TopCommand, FollowsAResize) {
  const Terminal terminal(80, 24, on_screen());
  ASSERT_TRUE(terminal.shows("EADDRNOTAVAIL"));
  terminal.resize(20, 5);
  EXPECT_TRUE(terminal.hides("EADDRNOTAVAIL")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("/s pool")) << terminal.screen();
  terminal.resize(132, 50);
  EXPECT_TRUE(terminal.shows("REJECTED")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("1 lane")) << terminal.screen();
  terminal.resize(1, 1);
  EXPECT_TRUE(terminal.hides("REJECTED"));
  terminal.resize(80, 24);
  EXPECT_TRUE(terminal.shows("EADDRNOTAVAIL")) << terminal.screen();
}

TEST_F(TopCommand, KeysSortScrollPauseAndHelp) {
  Words destinations;
  for (int i = 2; i <= 12; ++i) destinations.push_back("127.0.0." + std::to_string(i) + ":9001");
  poold.make_lanes(destinations);
  const Terminal terminal(40, 8, on_screen());
  ASSERT_TRUE(terminal.shows("lanes 1-4 of 12")) << terminal.screen();
  terminal.press("NPage");
  EXPECT_TRUE(terminal.shows("lanes 5-8 of 12")) << terminal.screen();
  terminal.press("Down");
  EXPECT_TRUE(terminal.shows("lanes 6-9 of 12")) << terminal.screen();
  terminal.press("End");
  EXPECT_TRUE(terminal.shows("lanes 9-12 of 12")) << terminal.screen();
  terminal.press("PPage");
  terminal.press("Up");
  EXPECT_TRUE(terminal.shows("lanes 4-7 of 12")) << terminal.screen();
  terminal.press("Home");
  EXPECT_TRUE(terminal.shows("lanes 1-4 of 12")) << terminal.screen();
  terminal.press("<");  // by ports
  terminal.press("<");  // by destination
  EXPECT_TRUE(terminal.shows("127.0.0.1:9001")) << terminal.screen();
  terminal.press("r");
  EXPECT_TRUE(terminal.shows("127.0.0.12:9001")) << terminal.screen();
  terminal.press("h");
  EXPECT_TRUE(terminal.shows("s sort by next column")) << terminal.screen();
  terminal.press("h");
  EXPECT_TRUE(terminal.shows("lanes 1-4 of 12")) << terminal.screen();
  terminal.press("p");
  EXPECT_TRUE(terminal.shows("PAUSED")) << terminal.screen();
  terminal.press("Space");
  EXPECT_TRUE(terminal.hides("PAUSED")) << terminal.screen();
}

TEST_F(TopCommand, AFilterLeavesOnlyWhatIsAskedFor) {
  Words destinations;
  for (int i = 2; i <= 12; ++i) destinations.push_back("127.0.0." + std::to_string(i) + ":9001");
  poold.make_lanes(destinations);
  const Terminal terminal(80, 24, on_screen());
  ASSERT_TRUE(terminal.shows("of 12")) << terminal.screen();
  terminal.press("/");
  for (const char* key : {"0", ".", "1", "1", "q"}) terminal.press(key);
  EXPECT_TRUE(terminal.shows("none of 12 lanes has \"0.11q\" in it")) << terminal.screen();
  terminal.press("BSpace");
  EXPECT_TRUE(terminal.shows("127.0.0.11:9001")) << terminal.screen();
  EXPECT_TRUE(terminal.hides("127.0.0.12:9001")) << terminal.screen();
  terminal.press("Enter");
  EXPECT_TRUE(terminal.shows("1 lane of 12, /0.11")) << terminal.screen();
  terminal.press("Escape");
  EXPECT_TRUE(terminal.shows("of 12")) << terminal.screen();
  EXPECT_TRUE(terminal.hides("/0.11")) << terminal.screen();
}

TEST_F(TopCommand, ListsTheProgramsUnderTheLibrary) {
  Process guest = start_guest("echo_on_demand", poold.shim(), {kEcho});
  guest.send_line("go");
  guest.wait_for_output("done");
  const Terminal terminal(80, 24, on_screen());
  ASSERT_TRUE(terminal.shows("DESTINATION"));
  terminal.press("c");
  ASSERT_TRUE(terminal.shows("PROGRAM")) << terminal.screen();
  EXPECT_TRUE(terminal.shows(std::to_string(guest.pid()) + " ")) << terminal.screen();
  EXPECT_TRUE(terminal.hides("DESTINATION"));
  terminal.press("c");
  EXPECT_TRUE(terminal.shows("DESTINATION"));
}

TEST_F(TopCommand, SortsAsItIsToldAndMarksTheColumn) {
  poold.make_lanes({"127.0.0.2:9001", "127.0.0.3:9001"});
  {
    const Terminal terminal(80, 24, on_screen("", "--sort destination"));
    EXPECT_TRUE(terminal.shows("DESTINATION^")) << terminal.screen();
    terminal.press("r");
    EXPECT_TRUE(terminal.shows("DESTINATIONv")) << terminal.screen();
    terminal.press("s");
    EXPECT_TRUE(terminal.hides("DESTINATIONv")) << terminal.screen();
  }
  const Terminal terminal(80, 24, on_screen());
  EXPECT_TRUE(terminal.shows("USED%v")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("TO HALF")) << terminal.screen();
  Process wrong(command({"--sort", "colour"}));
  EXPECT_EQ(wrong.wait(), 2);
  EXPECT_TRUE(has(wrong.err(), "\"colour\" is none of pool, source")) << wrong.err();
}

TEST_F(TopCommand, SaysWhenHalfOfALaneIsUsed) {
  net.set_port_range(kLowPort, kLowPort + 99);
  const Terminal terminal(100, 30, on_screen());
  ASSERT_TRUE(terminal.shows("TO HALF")) << terminal.screen();
  EXPECT_FALSE(has(terminal.screen(), " over")) << terminal.screen();
  const Holder holder(SocketAddress(kEcho), 60);
  ASSERT_EQ(holder.held(), 60U);
  EXPECT_TRUE(terminal.shows(" over")) << terminal.screen();
}

// One in eight is counted, at random: of 4,000 the standard deviation is 167.
TEST_F(TopCommand, ConnectsOfALaneAreCounted) {
  poold.make_lanes({kEcho});
  const auto counted = [&] {
    return lane_of(poold.status(), kEcho).at("connects").get<std::uint64_t>();
  };
  const std::uint64_t before = counted();
  const Terminal terminal(80, 24, on_screen());
  ASSERT_TRUE(terminal.shows("CONN/S")) << terminal.screen();
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "4000"}), GuestResult{});
  EXPECT_GT(counted() - before, 4000 - 6 * 167);
  EXPECT_LT(counted() - before, 4000 + 6 * 167);
}

GUEST(refused_connects) {
  for (int i = 0; i < 50; ++i) CHECK_THAT(connected_socket(SocketAddress("127.0.0.1:9")) < 0);
}

// An incident that is over is found by going back to it.
TEST_F(TopCommand, FindsAnIncidentThatIsOver) {
  EXPECT_EQ(run_guest("refused_connects", poold.shim()), GuestResult{});
  const Terminal terminal(100, 30, on_screen());
  ASSERT_TRUE(terminal.shows("no connects in the last")) << terminal.screen();
  EXPECT_FALSE(has(terminal.screen(), "ECONNREFUSED"));
  EXPECT_TRUE(eventually([&] {
    terminal.press("Left");
    return has(terminal.screen(), "ECONNREFUSED");
  })) << terminal.screen();
  EXPECT_TRUE(has(terminal.screen(), "AT ")) << terminal.screen();
  terminal.press("End");
  EXPECT_TRUE(terminal.hides("ECONNREFUSED")) << terminal.screen();
}

TEST_F(TopCommand, GoesBackInTime) {
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "77"}), GuestResult{});
  const Terminal terminal(100, 30, on_screen());
  EXPECT_TRUE(terminal.shows("pool/s")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("\u2588")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("1 s each")) << terminal.screen();
  // Now there are none, and back there were some.
  EXPECT_TRUE(terminal.shows("no connects in the last")) << terminal.screen();
  EXPECT_TRUE(eventually([&] {
    terminal.press("Left");
    const std::string screen = terminal.screen();
    return has(screen, "AT ") && has(screen, "PATH ") && !has(screen, "no connects");
  })) << terminal.screen();
  EXPECT_TRUE(terminal.hides("ARM")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("^")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("End: now")) << terminal.screen();
  EXPECT_TRUE(terminal.shows(kEcho)) << terminal.screen();
  terminal.press("z");
  EXPECT_TRUE(terminal.shows("10 s each")) << terminal.screen();
  terminal.press("End");
  EXPECT_TRUE(terminal.hides("AT ")) << terminal.screen();
  EXPECT_TRUE(terminal.hides("End: now")) << terminal.screen();
  terminal.press("t");
  EXPECT_TRUE(terminal.hides("pool/s")) << terminal.screen();
  terminal.press("t");
  EXPECT_TRUE(terminal.shows("pool/s")) << terminal.screen();
}

TEST_F(TopCommand, GivesTheTerminalBackHoweverItEnds) {
  {
    const Terminal terminal(80, 24, on_screen());
    ASSERT_TRUE(terminal.shows("alive"));
    EXPECT_FALSE(has(terminal.screen(), "before"));
    terminal.press("q");
    expect_given_back(terminal, 0);
  }
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    const Terminal terminal(80, 24, on_screen());
    ASSERT_TRUE(terminal.shows("alive"));
    const pid_t top = terminal.child_of_shell();
    ASSERT_GT(top, 1);
    kill(top, number);
    expect_given_back(terminal, 0);
  }
}

TEST_F(TopCommand, ShowsADeadDaemonAndPicksUpTheNext) {
  const Terminal terminal(80, 24, on_screen());
  ASSERT_TRUE(terminal.shows("pid " + std::to_string(poold.process().pid())));
  poold.kill();
  EXPECT_TRUE(terminal.shows("stopped: last heartbeat")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("127.0.0.1:9001")) << terminal.screen();
  poold.restart();
  EXPECT_TRUE(terminal.shows("pid " + std::to_string(poold.process().pid()))) << terminal.screen();
  EXPECT_TRUE(terminal.shows("alive")) << terminal.screen();
  poold.stop();
  EXPECT_TRUE(terminal.shows("stopped")) << terminal.screen();
}

TEST_F(TopCommand, ColoursOnlyWhereTheyAreWanted) {
  const std::string green = "\x1b[32m";
  const Terminal coloured(80, 24, on_screen());
  ASSERT_TRUE(coloured.shows("alive"));
  EXPECT_TRUE(has(coloured.screen(true), green));
  for (const char* environment : {"NO_COLOR=1", "TERM=vt100"}) {
    const Terminal plain(80, 24, on_screen(environment));
    ASSERT_TRUE(plain.shows("alive")) << environment << plain.screen();
    EXPECT_FALSE(has(plain.screen(true), green)) << environment;
  }
}

TEST_F(TopCommand, ATerminalWithoutFullScreenIsRefused) {
  for (const char* name : {"TERM=dumb", "TERM=no-such-terminal"}) {
    const Terminal terminal(80, 24, on_screen(name));
    EXPECT_TRUE(terminal.shows("has no full screen")) << terminal.screen();
    EXPECT_TRUE(terminal.shows("status=2")) << terminal.screen();
  }
}

TEST_F(TopCommand, WithoutATerminalItPrintsOnce) {
  for (const Words& options : {Words{}, Words{"--once"}}) {
    Process top(command(options));
    EXPECT_EQ(top.wait(), 0) << top.err();
    EXPECT_TRUE(has(top.out(), "TCP connects")) << top.out();
    EXPECT_TRUE(has(top.out(), kEcho)) << top.out();
    EXPECT_FALSE(has(top.out(), "\x1b"));
  }
}

TEST_F(TopCommand, WithoutATerminalAndWithAnIntervalItPrintsAgainAndAgain) {
  Process top(command({"--interval", "0.1"}));
  const auto pages = [&] {
    std::istringstream stream(top.out());
    int count = 0;
    for (std::string line; std::getline(stream, line);) count += has(line, "connects/s") ? 1 : 0;
    return count;
  };
  EXPECT_TRUE(eventually([&] { return pages() >= 3; })) << top.out();
  EXPECT_TRUE(has(top.out(), kEcho)) << top.out();
  EXPECT_FALSE(has(top.out(), "\x1b"));
  top.signal(SIGTERM);
  EXPECT_EQ(top.wait(), 0);
  Process piped({"bash", "-c",
                 "\"$0\" top --interval 0.1 --socket \"$1\" | sed -u 1q; echo ${PIPESTATUS[0]}",
                 poold_path(), poold.socket()});
  EXPECT_EQ(piped.wait(), 0);
  EXPECT_TRUE(piped.out().ends_with("\n0\n")) << piped.out();
  EXPECT_EQ(piped.err(), "");
}

TEST_F(TopCommand, WithoutADaemonItSaysSo) {
  poold.stop();
  Process top(command());
  EXPECT_EQ(top.wait(), 2);
  EXPECT_TRUE(has(top.err(), "no poold is running")) << top.err();
  const Terminal terminal(80, 24, on_screen());
  EXPECT_TRUE(terminal.shows("no poold is running")) << terminal.screen();
  EXPECT_TRUE(terminal.shows("status=2")) << terminal.screen();
  Process wrong(command({"--interval", "0"}));
  EXPECT_EQ(wrong.wait(), 2);
}

}  // namespace
}  // namespace portpool::test
