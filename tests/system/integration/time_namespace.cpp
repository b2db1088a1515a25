// A daemon and those who look at it in different time namespaces: whether it lives, and since when,
// is the same for all.
#include <signal.h>

#include <memory>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

constexpr std::uint64_t kAhead_s = 90'000;

using Words = std::vector<std::string>;

// In front of a command: runs it in a time namespace that is 25 hours ahead.
Words ahead(const Words& more = {}) {
  const std::string seconds = std::to_string(kAhead_s);
  Words words{"unshare",     "--time", "--boottime", seconds,
              "--monotonic", seconds,  "--fork",     "--kill-child"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Words join(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class TimeNamespace : public testing::Test {
 protected:
  void SetUp() override {
    Process probe(join(ahead(kHidden), {"true"}));
    if (probe.wait() != 0) GTEST_SKIP() << "no time namespace to be had: " << probe.err();
  }

  void serve(const Words& where) {
    daemon = std::make_unique<Process>(
        join(where, {poold_path(), "serve", "--socket", directory.file("socket")}));
    ASSERT_TRUE(eventually([&] { return look({}, {"status"}).status == 0; })) << daemon->err();
  }

  GuestResult look(const Words& from, const Words& command) {
    Process process(
        join(join(from, {poold_path()}), join(command, {"--socket", directory.file("socket")})));
    GuestResult result;
    result.status = process.wait();
    result.out = process.out();
    result.err = process.err();
    return result;
  }

  void expect_alive(const Words& from) {
    const GuestResult text = look(from, {"status"});
    EXPECT_EQ(text.status, 0) << text.out << text.err;
    EXPECT_NE(text.out.find(": alive, last heartbeat "), std::string::npos) << text.out;
    const GuestResult once = look(from, {"top", "--once"});
    EXPECT_EQ(once.status, 0) << once.out << once.err;
    const GuestResult json = look(from, {"status", "--json"});
    EXPECT_EQ(json.status, 0) << json.err;
    const auto times = nlohmann::json::parse(json.out).at("daemon");
    EXPECT_LE(times.at("heartbeat_age_ms"), 1000);
    EXPECT_LT(times.at("uptime_s"), 3600);
  }

  // Own pid and /proc: the daemon's offsets are not to be seen from there.
  const Words kHidden{"--pid", "--mount-proc"};
  PrivateNet net;
  TempDir directory;
  std::unique_ptr<Process> daemon;
};

TEST_F(TimeNamespace, ReaderIsAhead) {
  serve({});
  expect_alive(ahead());
  expect_alive(ahead(kHidden));
}

TEST_F(TimeNamespace, DaemonIsAhead) {
  serve(ahead());
  expect_alive({});
  expect_alive({"unshare", "--pid", "--mount-proc", "--fork", "--kill-child"});
}

TEST_F(TimeNamespace, UptimeIsTold) {
  serve(ahead());
  const auto uptime = [&](const Words& from) {
    return nlohmann::json::parse(look(from, {"status", "--json"}).out)
        .at("daemon")
        .at("uptime_s")
        .get<std::uint64_t>();
  };
  EXPECT_TRUE(eventually([&] { return uptime({}) >= 2; }));
  EXPECT_GE(uptime(ahead()), 2);
  EXPECT_GE(uptime(ahead(kHidden)), 2);
}

// A daemon that hangs is not taken for one that lives in the future.
TEST_F(TimeNamespace, HangingDaemonIsAhead) {
  serve(ahead());
  const auto pid =
      nlohmann::json::parse(look({}, {"status", "--json"}).out).at("daemon").at("pid").get<pid_t>();
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  EXPECT_TRUE(eventually([&] {
    const GuestResult result = look({}, {"status"});
    return result.status == 1 && result.out.find(": no heartbeat for ") != std::string::npos;
  }));
  EXPECT_LT(
      nlohmann::json::parse(look({}, {"status", "--json"}).out).at("daemon").at("heartbeat_age_ms"),
      3'600'000);
  kill(pid, SIGCONT);
}

TEST_F(TimeNamespace, TopSeesItAlive) {
  serve({});
  Process top(join(ahead(kHidden),
                   {poold_path(), "top", "--interval", "1", "--socket", directory.file("socket")}));
  top.wait_for_output("alive, heartbeat");
  for (const char* nonsense : {"stopped", "up 1d", "heartbeat 9"}) {
    EXPECT_EQ(top.out().find(nonsense), std::string::npos) << top.out();
  }
}

}  // namespace
}  // namespace portpool::test
