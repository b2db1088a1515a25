// `poold compare`, mode ab, and the reports: on a running daemon and on a command.
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "support/holder.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// More than half of EchoNet's range: the kernel's own choice is past its cliff.
constexpr std::size_t kPastTheCliff = 5600;
// Ten pairs of blocks, long enough for a busy machine to get to the load in each.
const std::vector<std::string> kShort = {"--block", "100ms", "--duration", "2s"};

// Connects, echoes (so that the server keeps up: a full listen queue would stop all connects for a
// second) and closes with a reset until it is told otherwise, or for ever.
GUEST(connects_for_ever) {
  const SocketAddress destination(arguments.at(0));
  for (bool first = true;; first = false) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0 && echo_round_trip(fd));
    close_with_reset(fd);
    if (first) say("begun");
  }
}

class CompareCommand : public EchoNet {
 protected:
  // `poold compare` with `options` (and -- COMMAND), its temporary files in `directory`.
  std::vector<std::string> words(const std::vector<std::string>& options,
                                 const std::vector<std::string>& command = {}) const {
    std::vector<std::string> all{poold_path(), "compare"};
    all.insert(all.end(), options.begin(), options.end());
    if (!command.empty()) all.emplace_back("--");
    all.insert(all.end(), command.begin(), command.end());
    return all;
  }
  std::vector<std::string> environment(const std::string& socket = "") const {
    return {"TMPDIR=" + directory.path(), "XDG_RUNTIME_DIR=" + directory.path(),
            "PORTPOOL_SOCKET=" + (socket.empty() ? directory.file("no-daemon") : socket),
            kBeginAttached};
  }

  // The command's words on stderr where it is expected to refuse.
  std::string refusal(const std::vector<std::string>& options,
                      const std::vector<std::string>& command = {},
                      const std::string& socket = "") const {
    Process process(words(options, command), environment(socket));
    EXPECT_EQ(process.wait(), 2) << process.out() << process.err();
    EXPECT_EQ(process.out(), "");
    return process.err();
  }

  TempDir directory;
};

// With a daemon, and a program under the shim that connects all the time.
class CompareRunning : public CompareCommand {
 protected:
  explicit CompareRunning(const std::string& config = "") : poold(config) {
    if (config.empty()) poold.make_lanes({kEcho});
    load.wait_for_output("begun");
  }

  std::string mode() const { return poold.status().at("daemon").at("mode"); }
  // A comparison that lasts until it is ended, once it has begun.
  std::unique_ptr<Process> long_comparison() {
    auto process = std::make_unique<Process>(words({"--block", "50ms", "--duration", "1m"}),
                                             environment(poold.socket()));
    EXPECT_TRUE(eventually([&] { return mode() == "ab"; })) << process->err();
    return process;
  }

  Poold poold;
  Process load = start_guest("connects_for_ever", poold.shim(), {kEcho});
};

class CompareObserving : public CompareRunning {
 protected:
  CompareObserving() : CompareRunning("mode = \"observe\"") {}
};

TEST_F(CompareRunning, PoolIsFasterPastTheCliff) {
  const Holder holder(SocketAddress(kEcho), kPastTheCliff);
  ASSERT_EQ(holder.held(), kPastTheCliff);
  std::vector<std::string> options = kShort;
  options.emplace_back("--json");
  Process compare(words(options), environment(poold.socket()));
  ASSERT_EQ(compare.wait(), 0) << compare.err();
  EXPECT_EQ(compare.err(), "") << "no progress where nobody watches";
  const json result = json::parse(compare.out());
  EXPECT_EQ(result.at("schema"), 1);
  EXPECT_EQ(result.at("verdict"), "pool_faster") << compare.out();
  EXPECT_EQ(result.at("pairs"), 10);
  EXPECT_EQ(result.at("blocks").size(), 20U);
  EXPECT_GT(result.at("percentiles").at(0).at("ratio").at("low"), 1.5);
  EXPECT_LT(result.at("significance").at("p"), 0.05);
  for (const char* arm : {"pool", "kernel"}) {
    const json& totals = result.at("arms").at(arm);
    EXPECT_GT(totals.at("connects"), 100) << arm;
    EXPECT_EQ(totals.at("errors"), 0) << arm;
    EXPECT_GT(totals.at("occupancy").at("median"), 0.5) << arm;
    EXPECT_GT(totals.at("cpu_samples"), 0) << arm;
  }
  EXPECT_EQ(mode(), "pool") << "as it was";
}

TEST_F(CompareRunning, EmptyRangeMakesNoGreatDifference) {
  const std::string file = directory.file("result.json");
  std::vector<std::string> options = kShort;
  options.insert(options.end(), {"--json", file});
  Process compare(words(options), environment(poold.socket()));
  ASSERT_EQ(compare.wait(), 0) << compare.err();
  const json result = json::parse(read_whole_file(file));
  const double ratio = result.at("percentiles").at(0).at("ratio").at("value");
  EXPECT_GT(ratio, 0.4) << compare.out();
  EXPECT_LT(ratio, 2.5) << compare.out();
  const bool none = result.at("verdict") == "no_significant_difference";
  const std::string said = none ? "No significant difference at the median" : "time with the pool";
  if (ratio < 1.45 && ratio > 0.67) {
    EXPECT_NE(compare.out().find(said), std::string::npos) << compare.out();
  }
}

TEST_F(CompareObserving, ModeComesBackWhenTheComparisonIsKilled) {
  EXPECT_EQ(mode(), "observe");
  const auto compare = long_comparison();
  compare->signal(SIGKILL);
  compare->wait();
  EXPECT_TRUE(eventually([&] { return mode() == "observe"; }));
  long_comparison();  // and again
  EXPECT_TRUE(eventually([&] { return mode() == "observe"; }));
}

TEST_F(CompareRunning, SecondComparisonHasToWait) {
  const auto compare = long_comparison();
  const std::string words = refusal(kShort, {}, poold.socket());
  EXPECT_NE(words.find("another comparison"), std::string::npos) << words;
  EXPECT_EQ(mode(), "ab") << "the first goes on";
}

TEST_F(CompareRunning, ReloadDoesNotEndTheComparison) {
  const auto compare = long_comparison();
  poold.process().signal(SIGHUP);
  EXPECT_TRUE(eventually(
      [&] { return poold.process().err().find("configuration reloaded") != std::string::npos; }));
  EXPECT_EQ(mode(), "ab");
}

TEST_F(CompareRunning, InterruptedComparisonReportsWhatItHas) {
  const auto compare = long_comparison();
  const auto kernel_calls = [&] { return kernel_connects(poold.status()); };
  const auto before = kernel_calls();
  EXPECT_TRUE(eventually([&] { return kernel_calls() > before; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(800));
  compare->signal(SIGINT);
  EXPECT_EQ(compare->wait(), 0) << compare->err();
  EXPECT_NE(compare->out().find("p99"), std::string::npos) << compare->out();
  EXPECT_NE(compare->out().find("Note: Interrupted"), std::string::npos) << compare->out();
  EXPECT_TRUE(eventually([&] { return mode() == "pool"; }));
}

TEST_F(CompareRunning, InterruptedAtOnceSaysThatThereIsNoVerdict) {
  const auto compare = long_comparison();
  compare->signal(SIGTERM);
  EXPECT_EQ(compare->wait(), 0) << compare->err();
  EXPECT_NE(compare->out().find("Interrupted"), std::string::npos) << compare->out();
}

TEST_F(CompareRunning, DaemonThatDiesInTheMiddle) {
  const auto compare = long_comparison();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  poold.kill();
  EXPECT_EQ(compare->wait(), 2);
  EXPECT_NE(compare->err().find("The daemon ended in the middle"), std::string::npos)
      << compare->err();
  EXPECT_NE(compare->out().find("Note: The daemon ended"), std::string::npos) << compare->out();
  poold.restart();
}

TEST_F(CompareCommand, NobodyConnects) {
  const Poold poold;
  Process compare(words({"--block", "50ms", "--duration", "600ms"}), environment(poold.socket()));
  EXPECT_EQ(compare.wait(), 0) << compare.err();
  EXPECT_NE(compare.out().find("no TCP connect passed through the shim"), std::string::npos)
      << compare.out();
}

TEST_F(CompareCommand, OnlyRootAndTheDaemonsUserMayCompare) {
  if (geteuid() != 0) GTEST_SKIP() << "cannot become somebody else";
  const Poold poold("socket_group = \"nogroup\"");
  fs::permissions(fs::path(poold.socket()).parent_path(), fs::perms(0755));
  const TempDir place;
  fs::permissions(place.path(), fs::perms(0755));
  fs::copy(poold_path(), place.file("poold"));
  Process compare({"setpriv", "--reuid=65534", "--regid=nogroup", "--clear-groups",
                   place.file("poold"), "compare", "--socket", poold.socket()},
                  environment());
  EXPECT_EQ(compare.wait(), 2);
  EXPECT_NE(compare.err().find("only root and the daemon's own user may"), std::string::npos)
      << compare.err();
  EXPECT_EQ(poold.status().at("daemon").at("mode"), "pool");
}

TEST_F(CompareCommand, OtherNetworkNamespaceIsRefused) {
  const Poold poold;
  std::vector<std::string> elsewhere{"unshare", "--net"};
  for (const std::string& word : words({"--socket", poold.socket()})) elsewhere.push_back(word);
  Process compare(elsewhere, environment());
  EXPECT_EQ(compare.wait(), 2);
  EXPECT_NE(compare.err().find("another network namespace"), std::string::npos) << compare.err();
}

TEST_F(CompareCommand, RefusalsComeBeforeAnythingRuns) {
  const std::string proof = directory.file("it-ran");
  const std::vector<std::string> command{"touch", proof};
  EXPECT_NE(refusal({}).find("no poold is running"), std::string::npos);
  EXPECT_NE(refusal({"--report", "/no/such/folder/r.html"}, command).find("cannot write /no/such"),
            std::string::npos);
  EXPECT_NE(refusal({"--report", directory.path()}, command).find("Is a directory"),
            std::string::npos);
  EXPECT_NE(refusal({"--json", "/no/such/folder/r.json"}, command).find("cannot write /no/such"),
            std::string::npos);
  const std::string too_short = refusal({"--duration", "3s"}, command);
  EXPECT_NE(too_short.find("--duration 3 s is too short"), std::string::npos) << too_short;
  EXPECT_NE(too_short.find("24 s"), std::string::npos) << "what it takes: " << too_short;
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--block", "0s"},
                                                {"--block", "-2s"},
                                                {"--block", "5ms"},
                                                {"--block", "2 fortnights"},
                                                {"--block", "nan"},
                                                {"--duration", "nonsense"},
                                                {"--duration", "inf"},
                                                {"--seed", "x"},
                                                {"--source", "10.99.99.99"},
                                                {"--no-such-option"}}) {
    EXPECT_NE(refusal(wrong, command), "") << wrong[0];
  }
  const std::string unknown = refusal({"--fail-if", "p99<1"}, command);
  EXPECT_NE(unknown.find("p99_ratio"), std::string::npos) << unknown;
  EXPECT_NE(refusal({"--fail-if", "pool_p50_us_change<1"}, command).find("no figure is called"),
            std::string::npos)
      << "without --baseline";
  EXPECT_NE(refusal({"--baseline", "/no/such"}, command).find("cannot read /no/such"),
            std::string::npos);
  EXPECT_NE(refusal({"--csv", "/no/such/folder/r.csv"}, command).find("cannot write /no/such"),
            std::string::npos);
  EXPECT_NE(refusal({"--json", "--csv"}, command).find("only one of --json"), std::string::npos);
  EXPECT_FALSE(fs::exists(proof));
  const std::string report = directory.file("r.html");
  const std::string missing = refusal({"--report", report}, {"/no/such/command"});
  EXPECT_NE(missing.find("cannot run /no/such/command"), std::string::npos) << missing;
  EXPECT_FALSE(fs::exists(report)) << "an empty report helps nobody";
  EXPECT_TRUE(fs::is_empty(directory.path())) << *fs::directory_iterator(directory.path());
}

TEST_F(CompareCommand, CommandWithADaemonOfItsOwn) {
  const Holder holder(SocketAddress(kEcho), kPastTheCliff);
  std::vector<std::string> options = kShort;
  options.insert(options.end(), {"--json", "--seed", "7"});
  Process compare(words(options, guest_command("connects_for_ever", {kEcho})), environment());
  ASSERT_EQ(compare.wait(), 0) << compare.err();
  ASSERT_TRUE(compare.out().starts_with("begun\n"));
  const json result = json::parse(compare.out().substr(6));
  EXPECT_EQ(result.at("verdict"), "pool_faster") << compare.out();
  EXPECT_EQ(result.at("settings").at("seed"), 7);
  EXPECT_NE(result.at("subject").get<std::string>().find("connects_for_ever"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST_F(CompareCommand, CommandThatEndsSoonAndBadly) {
  Process compare(words({"--block", "50ms"}, {"sh", "-c", "exit 3"}), environment());
  EXPECT_EQ(compare.wait(), 0) << compare.err();
  EXPECT_NE(compare.out().find("No verdict: too few blocks"), std::string::npos) << compare.out();
  EXPECT_NE(compare.out().find("ended with status 3"), std::string::npos) << compare.out();
}

// Markdown and CSV, the conditions' answers, and what an earlier run makes of it, in one
// comparison.
TEST_F(CompareRunning, OutputsConditionsAndAnEarlierRun) {
  const std::string first = directory.file("first.json");
  const std::string csv = directory.file("figures.csv");
  const std::vector<std::string> quick{"--block", "50ms", "--duration", "1s"};
  std::vector<std::string> options = quick;
  options.insert(options.end(), {"--json", first, "--csv", csv, "--markdown", "--fail-if",
                                 "pool_connects<1", "--fail-if", "pairs < 1"});
  Process compare(words(options), environment(poold.socket()));
  ASSERT_EQ(compare.wait(), 0) << compare.err();
  EXPECT_TRUE(compare.out().starts_with("# connect() by pool and by kernel\n")) << compare.out();
  EXPECT_NE(compare.err().find("--fail-if pool_connects<1 does not hold"), std::string::npos)
      << compare.err();
  EXPECT_TRUE(read_whole_file(csv).starts_with("figure,value,low,high\nverdict,"));
  EXPECT_NE(read_whole_file(csv).find("\npairs,10,,\n"), std::string::npos);

  // The earlier run again, with a median of the pool that nothing can reach.
  json earlier = json::parse(read_whole_file(first));
  earlier["percentiles"][0]["pool_us"] = {{"value", 1e9}, {"low", 0.9e9}, {"high", 1.1e9}};
  const std::string old_run = directory.write("old.json", earlier.dump());
  options = quick;
  options.insert(options.end(), {"--baseline", old_run, "--fail-if", "pairs<1", "--fail-if",
                                 "pool_p50_us_change.high<0.5"});
  Process again(words(options), environment(poold.socket()));
  EXPECT_EQ(again.wait(), 1) << again.err();
  EXPECT_NE(again.err().find("pool_p50_us_change.high<0.5 holds"), std::string::npos)
      << again.err();
  EXPECT_NE(again.out().find("Against " + old_run), std::string::npos) << again.out();
}

TEST_F(CompareCommand, WhatWasNotMeasuredPassesNoCondition) {
  const Poold poold;
  const auto status = [&](const std::vector<std::string>& conditions) {
    std::vector<std::string> options{"--block", "20ms", "--duration", "240ms"};
    for (const std::string& condition : conditions) {
      options.insert(options.end(), {"--fail-if", condition});
    }
    Process process(words(options), environment(poold.socket()));
    return process.wait();
  };
  EXPECT_EQ(status({"p99_ratio<1"}), 3) << "nobody connected";
  EXPECT_EQ(status({"p_value<2"}), 3);
  EXPECT_EQ(status({"p99_ratio<1", "pool_connects<1"}), 1) << "one holds";
  EXPECT_EQ(status({"pool_connects>0"}), 0);
}

TEST_F(EchoNet, ModeAbOfTheConfiguration) {
  Poold poold("mode = \"ab\"\nab_block_ms = 50");
  Process load = start_guest("connects_for_ever", poold.shim(), {kEcho});
  const auto arms = [&] {
    bool pool = false;
    bool kernel = false;
    const json status = poold.status();
    for (const json& part : status.at("latency")) {
      pool = pool || (part.at("arm") == "pool" && part.at("path") == "pool");
      kernel = kernel || (part.at("arm") == "kernel" && part.at("path") == "kernel");
      EXPECT_FALSE(part.at("arm") == "kernel" && part.at("path") == "pool");
    }
    return pool && kernel;
  };
  EXPECT_TRUE(eventually(arms));
  EXPECT_EQ(poold.status().at("daemon").at("mode"), "ab");
}

TEST_F(CompareCommand, RunWithSourceTakesItsPortsFromThere) {
  const std::string file = directory.file("status.json");
  std::vector<std::string> run{poold_path(), "run", "--source", "127.0.0.5,127.0.0.6",
                               "--json",     file,  "--"};
  for (const std::string& word : guest_command("echo_often", {kEcho, "300"})) run.push_back(word);
  Process process(run, environment());
  ASSERT_EQ(process.wait(), 0) << process.err();
  const json lanes = json::parse(read_whole_file(file)).at("lanes");
  ASSERT_FALSE(lanes.empty()) << process.err();
  for (const json& lane : lanes) {
    const std::string source = lane.at("source");
    EXPECT_TRUE(source == "127.0.0.5" || source == "127.0.0.6") << source;
  }
}

}  // namespace
}  // namespace portpool::test
