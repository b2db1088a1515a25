// `poold serve`: its socket, its signals, its configuration.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "base/descriptor.h"
#include "portpool/hints.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

// Runs `poold serve` where it is expected to refuse; gives its words.
std::string expect_refusal(const std::vector<std::string>& options) {
  std::vector<std::string> command{poold_path(), "serve"};
  command.insert(command.end(), options.begin(), options.end());
  Process process(command);
  EXPECT_EQ(process.wait(), 2) << process.err();
  EXPECT_EQ(process.out(), "");
  EXPECT_NE(process.err(), "");
  return process.err();
}

void leave_stale_socket(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  const Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
}

TEST_F(EchoNet, StaleSocketIsReplaced) {
  const TempDir directory;
  const std::string path = directory.file("poold.sock");
  leave_stale_socket(path);
  Process daemon({poold_path(), "serve", "--socket", path});
  EXPECT_TRUE(eventually([&] {
    return Process({poold_path(), "status", "--json"}, {"PORTPOOL_SOCKET=" + path}).wait() == 0;
  })) << daemon.err();
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait(), 0) << daemon.err();
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(PooledNet, SecondDaemonOnTheSameSocketIsRefused) {
  const std::string message = expect_refusal({"--socket", poold.socket()});
  EXPECT_NE(message.find(poold.socket()), std::string::npos) << message;
  EXPECT_TRUE(fs::is_socket(poold.socket()));
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "5"}), GuestResult{});
  EXPECT_GE(pool_connects(poold.status()), 5U);
}

TEST_F(EchoNet, PathThatIsNotASocketIsRefused) {
  const TempDir directory;
  const std::string file = directory.write("precious", "content");
  EXPECT_NE(expect_refusal({"--socket", file}).find(file), std::string::npos);
  EXPECT_EQ(read_whole_file(file), "content");
  // Its lock file would stand beside it.
  const std::string folder = directory.path() + "/folder";
  fs::create_directory(folder);
  expect_refusal({"--socket", folder});
  expect_refusal({"--socket", directory.path() + "/" + std::string(200, 'x')});
  expect_refusal({"--socket", file + "/poold.sock"});
}

TEST_F(EchoNet, TerminationIsClean) {
  for (const int number : {SIGTERM, SIGINT}) {
    Poold poold;
    EXPECT_TRUE(fs::is_socket(poold.socket()));
    poold.process().signal(number);
    EXPECT_EQ(poold.process().wait(), 0) << poold.process().err();
    EXPECT_FALSE(fs::exists(poold.socket()));
  }
}

// After what its clients hold has been seen to, the daemon ends also with clients attached.
TEST_F(PooledNet, TerminationWithClients) {
  Process guest = start_guest("echo_on_demand", poold.shim(), {kEcho});
  guest.send_line("");
  guest.wait_for_output("done\n");
  EXPECT_EQ(poold.stop(), 0) << poold.process().err();
  guest.send_line("");
  guest.wait_for_output("done\ndone\n");
}

struct BadConfig {
  const char* text;
  int line;
  const char* named;  // part of what the message must say
};

const BadConfig kBadConfigs[] = {
    {"mode = \"pool\"\nmoode = \"pool\"\n", 2, "moode"},
    {"mode = \"fast\"\n", 1, "\"observe\""},
    {"\nmode = 7\n", 2, "\"observe\""},
    {"mode = \"pool\n", 1, ""},
    {"[[pool]]\nname = \"a\"\nport_range = \"70000-80000\"\n", 3, "expected a port range"},
    {"[[pool]]\nname = \"a\"\nport_range = \"3000-2000\"\n", 3, "expected a port range"},
    {"[[pool]]\nname = \"a\"\nport_range = 3000\n", 3, "expected a port range"},
    {"[[pool]]\nname = \"a\"\ndestinations = [\n  \"10.0.0.0/24:443\",\n  \"10.0.0.0/33\"]\n", 5,
     "10.0.0.0/33"},
    {"[[pool]]\nname = \"a\"\ndestinations = \"10.0.0.0/24\"\n", 3, "destinations"},
    {"[[pool]]\nname = \"a\"\nsources = [\"nonsense\"]\n", 3, "nonsense"},
    {"[[pool]]\nname = \"a\"\nsource_policy = \"random\"\n", 3, "balance"},
    {"[[pool]]\nname = \"a\"\non_exhaustion = \"panic\"\n", 3, "fail-fast"},
    {"[[pool]]\nname = \"a\"\ncolour = \"red\"\n", 3, "colour"},
    {"metrics_listen = \"nowhere\"\n", 1, "nowhere"},
    {"socket_group = \"no-such-group-anywhere\"\n", 1, "no-such-group-anywhere"},
    {"mode = \"pool\"\nmode = \"pool\"\n", 2, "mode"},
};

TEST_F(EchoNet, BadConfigurationIsRefusedWithLineAndColumn) {
  for (const BadConfig& bad : kBadConfigs) {
    SCOPED_TRACE(bad.text);
    const TempDir directory;
    const std::string config = directory.write("poold.toml", bad.text);
    const std::string message =
        expect_refusal({"--socket", directory.file("s"), "--config", config});
    const std::regex place(config + ":" + std::to_string(bad.line) + ":[0-9]+");
    EXPECT_TRUE(std::regex_search(message, place)) << message;
    EXPECT_NE(message.find(bad.named), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(directory.file("s")));
  }
  const std::string missing = expect_refusal({"--config", "/no/such/file.toml"});
  EXPECT_NE(missing.find("/no/such/file.toml"), std::string::npos) << missing;
}

TEST_F(EchoNet, ReloadTakesGoodAndRefusesBadConfigurations) {
  Poold poold("mode = \"pool\"\n");
  const auto reload_with = [&](const std::string& text) {
    std::ofstream(poold.config_path()) << text;
    poold.process().signal(SIGHUP);
  };
  const auto mode_is = [&](const char* mode) {
    return poold.eventually_status(
        [&](const nlohmann::json& now) { return now.at("daemon").at("mode") == mode; });
  };
  EXPECT_TRUE(mode_is("pool"));
  reload_with("mode = \"observe\"\n");
  EXPECT_TRUE(mode_is("observe"));
  reload_with("mode = \"nonsense\"\n");
  EXPECT_TRUE(eventually([&] {
    return poold.process().err().find(poold.config_path() + ":1:8: ") != std::string::npos;
  })) << poold.process().err();
  EXPECT_EQ(poold.status().at("daemon").at("mode"), "observe");
  reload_with("mode = \"pool\"\n");
  EXPECT_TRUE(mode_is("pool"));
}

TEST_F(EchoNet, WrongUsage) {
  expect_refusal({"--no-such-option"});
  EXPECT_EQ(Process({poold_path(), "no-such-command"}).wait(), 2);
  EXPECT_EQ(Process({poold_path()}).wait(), 2);
  for (const char* command :
       {"serve", "run", "status", "top", "trace", "compare", "doctor", "check"}) {
    Process help({poold_path(), command, "--help"});
    EXPECT_EQ(help.wait(), 0) << command;
    EXPECT_NE(help.out().find("--help"), std::string::npos) << command << help.out();
  }
}

TEST_F(EchoNet, StatusWithoutADaemon) {
  const TempDir directory;
  Process status({poold_path(), "status"}, {"PORTPOOL_SOCKET=" + directory.file("none")});
  EXPECT_EQ(status.wait(), 2);
  EXPECT_EQ(status.out(), "");
  EXPECT_NE(status.err().find(directory.file("none")), std::string::npos) << status.err();
}

TEST_F(PooledNet, StatusHasEveryFieldOfTheContract) {
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "5"}), GuestResult{});
  const nlohmann::json status = poold.status();
  EXPECT_EQ(status.at("schema"), 1);
  const nlohmann::json& daemon = status.at("daemon");
  EXPECT_EQ(daemon.at("pid"), poold.process().pid());
  EXPECT_TRUE(daemon.at("version").is_string());
  EXPECT_EQ(daemon.at("layout"), std::to_string(kLayoutMajor) + "." + std::to_string(kLayoutMinor));
  EXPECT_EQ(daemon.at("mode"), "pool");
  for (const char* number : {"generation", "heartbeat_age_ms", "uptime_s"}) {
    EXPECT_TRUE(daemon.at(number).is_number_unsigned()) << number;
  }
  const nlohmann::json& strategy = status.at("strategy");
  EXPECT_TRUE(strategy == "port-range" || strategy == "bind") << strategy;
  EXPECT_TRUE(status.at("clients").at("attached").is_number_unsigned());
  EXPECT_TRUE(status.at("rejections").is_number_unsigned());
  for (const char* result : {"ok", "in_progress", "EADDRNOTAVAIL", "ECONNREFUSED"}) {
    EXPECT_TRUE(status.at("results").at(result).is_number_unsigned()) << result;
  }
  const nlohmann::json lane = lane_of(status, kEcho);
  EXPECT_EQ(lane.at("pool"), "default");
  for (const char* number : {"capacity", "in_use", "quarantined", "blocked", "free"}) {
    EXPECT_TRUE(lane.at(number).is_number_unsigned()) << number;
  }
  bool pooled = false;
  for (const nlohmann::json& row : status.at("latency")) {
    for (const char* number : {"count", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"}) {
      EXPECT_TRUE(row.at(number).is_number()) << number;
    }
    pooled = pooled || (row.at("arm") == "pool" && row.at("path") == "pool" &&
                        row.at("blocking") == true && row.at("count") >= 5);
  }
  EXPECT_TRUE(pooled) << status.at("latency");
}

TEST_F(PooledNet, AttachedClientsAreCounted) {
  const auto attached_is = [&](int count) {
    return poold.eventually_status(
        [&](const nlohmann::json& now) { return now.at("clients").at("attached") == count; });
  };
  EXPECT_TRUE(attached_is(0)) << poold.status();
  {
    Process first = start_guest("echo_on_demand", poold.shim(), {kEcho});
    Process second = start_guest("echo_on_demand", poold.shim(), {kEcho});
    EXPECT_TRUE(attached_is(2)) << poold.status();
  }
  EXPECT_TRUE(attached_is(0)) << poold.status();
  // Whoever only looks is none.
  for (int i = 0; i < 10; ++i) EXPECT_EQ(poold.status().at("clients").at("attached"), 0);
}

}  // namespace
}  // namespace portpool::test
