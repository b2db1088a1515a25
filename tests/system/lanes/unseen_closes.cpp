// Closes that the shim does not see, or that are not the last: the kernel's table decides.
#include <csignal>

#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

constexpr int kSockets = 5;

class UnseenCloses : public EachStrategy {
 protected:
  UnseenCloses() { net.set_sysctl("net.ipv4.tcp_tw_reuse", "0"); }

  void SetUp() override {
    start(64);
    make_lane(kEcho);
    client = std::make_unique<Client>(poold->shim());
    for (int i = 0; i < kSockets; ++i) {
      const Connected connected = client->connect(kEcho);
      ASSERT_EQ(connected.error, "ok");
      files.push_back(std::to_string(connected.fd));
    }
    ASSERT_GE(pool_connects(poold->status()), static_cast<unsigned>(kSockets));
  }

  void ask_each(const std::string& command) {
    for (const std::string& file : files) EXPECT_NE(client->ask(command + " " + file), "EBADF");
  }

  // Open in the kernel, and so in the lane: soon after, and still a while later.
  void expect_in_use() {
    EXPECT_TRUE(lane_comes_true(kEcho)) << poold->status();
    EXPECT_EQ(number(lane(kEcho), "in_use"), kSockets);
  }
  void expect_waiting() {
    EXPECT_TRUE(eventually([&] { return kernel_ports(kHost, kEcho).waiting == kSockets; }))
        << kernel_table();
    EXPECT_TRUE(lane_comes_true(kEcho)) << poold->status();
    EXPECT_EQ(number(lane(kEcho), "quarantined"), kSockets);
  }

  std::unique_ptr<Client> client;
  std::vector<std::string> files;
};

TEST_P(UnseenCloses, Dup) {
  std::vector<std::string> copies;
  for (const std::string& file : files) copies.push_back(client->ask("dup " + file));
  ask_each("close");
  expect_in_use();
  for (const std::string& copy : copies) {
    EXPECT_EQ(client->ask("echo " + copy), "ok");
    EXPECT_EQ(client->ask("close " + copy), "ok");
  }
  expect_waiting();
}

TEST_P(UnseenCloses, Fork) {
  const std::string child = client->ask("fork");
  ask_each("close");
  expect_in_use();
  EXPECT_EQ(client->ask("kill " + child), "ok");
  expect_waiting();
}

TEST_P(UnseenCloses, PassedOn) {
  ask_each("send");
  ask_each("close");
  expect_in_use();
  for (int i = 0; i < kSockets; ++i) {
    const std::string file = client->ask("receive");
    EXPECT_EQ(client->ask("echo " + file), "ok");
    EXPECT_EQ(client->ask("close " + file), "ok");
  }
  expect_waiting();
}

TEST_P(UnseenCloses, Kill) {
  expect_in_use();
  client->process().signal(SIGKILL);
  client->process().wait();
  expect_waiting();
}

TEST_P(UnseenCloses, CloseRange) {
  ask_each("close_range");
  expect_waiting();
}

TEST_P(UnseenCloses, RawSystemCall) {
  ask_each("close_raw");
  expect_waiting();
  // The shim still takes the numbers for its sockets; new ones get the same numbers.
  EXPECT_EQ(client->hold(kEcho, 2 * kSockets), 2 * kSockets);
  EXPECT_TRUE(lane_comes_true(kEcho)) << poold->status();
  client->ask("reset_all");
  EXPECT_TRUE(lane_comes_true(kEcho)) << poold->status();
}

// While a copy is open, others connect in a lane that may be wrong for a moment: none fails, and
// none gets a port that is taken.
TEST_P(UnseenCloses, OthersDoNotSuffer) {
  std::vector<std::string> copies;
  for (const std::string& file : files) copies.push_back(client->ask("dup " + file));
  Client other(poold->shim());
  for (const std::string& file : files) client->ask("close " + file);
  EXPECT_EQ(other.hold(kEcho, 64 - kSockets), 64 - kSockets);
  for (const std::string& copy : copies) EXPECT_EQ(client->ask("echo " + copy), "ok");
  EXPECT_TRUE(lane_comes_true(kEcho)) << poold->status();
  EXPECT_EQ(number(lane(kEcho), "free"), 0);
}

PORTPOOL_EACH_STRATEGY(UnseenCloses);

}  // namespace
}  // namespace portpool::test
