// A port's way back at close(): free where the kernel lets go of it, waiting where it does not.
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

constexpr int kRounds = 20;

class Release : public EachStrategy {
 protected:
  // In the end: with the bind strategy poold may have seen ports between bind() and connect(), and
  // holds them back until it looks again.
  void expect_free(const std::string& destination, int count) const {
    EXPECT_TRUE(eventually_lane(destination, [&](const nlohmann::json& now) {
      return number(now, "free") == count;
    })) << lane(destination);
  }

  // Connects and closes kRounds times, each as `finish` says; returns status before and after.
  template <class Finish>
  std::pair<nlohmann::json, nlohmann::json> rounds(const std::string& destination, Finish finish) {
    Client client(poold->shim());
    const nlohmann::json before = poold->status();
    for (int i = 0; i < kRounds; ++i) {
      const Connected connected = client.connect(destination);
      EXPECT_EQ(connected.error, "ok") << i;
      if (connected.ok()) finish(client, connected.fd);
    }
    return {before, poold->status()};
  }
};

int rise(const std::pair<nlohmann::json, nlohmann::json>& statuses, const std::string& name) {
  return counter(statuses.second, name) - counter(statuses.first, name);
}

TEST_P(Release, AfterThePeersCloseThePortIsFree) {
  start(64);
  make_lane(kCloser);
  const auto statuses = rounds(kCloser, [](Client& client, int fd) {
    const std::string file = std::to_string(fd);
    EXPECT_EQ(client.ask("await_eof " + file), "ok");
    client.close(fd);
  });
  EXPECT_EQ(rise(statuses, "released_free"), kRounds);
  EXPECT_EQ(rise(statuses, "released_quarantine"), 0);
  EXPECT_TRUE(lane_comes_true(kCloser)) << lane(kCloser);
  EXPECT_EQ(kernel_ports(kHost, kCloser).waiting, 0);
  expect_free(kCloser, 64);
}

TEST_P(Release, AfterOurOwnCloseThePortWaits) {
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "0");
  start(64);
  make_lane(kEcho);
  const auto statuses = rounds(kEcho, [](Client& client, int fd) { client.close(fd); });
  EXPECT_EQ(rise(statuses, "released_free"), 0);
  EXPECT_EQ(rise(statuses, "released_quarantine"), kRounds);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(kernel_ports(kHost, kEcho).waiting, kRounds);
  EXPECT_EQ(number(lane(kEcho), "quarantined"), kRounds);
  expect_free(kEcho, 64 - kRounds);
  // And no connect takes one of them.
  Client client(poold->shim());
  EXPECT_EQ(client.hold(kEcho, 64), 64 - kRounds);
}

// The shim learns of it when the kernel gives the number of the closed descriptor to a new socket.
TEST_P(Release, AfterARawCloseThePortIsInDoubt) {
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "0");
  start(64);
  make_lane(kEcho);
  const auto statuses = rounds(kEcho, [](Client& client, int fd) {
    EXPECT_NE(client.ask("close_raw " + std::to_string(fd)), "EBADF");
  });
  // The last one's number has come to no other socket.
  EXPECT_EQ(rise(statuses, "released_quarantine"), kRounds - 1);
  EXPECT_EQ(rise(statuses, "released_free"), 0);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "quarantined"), kRounds);
}

TEST_P(Release, AfterAResetThePortIsFree) {
  start(8);
  make_lane(kEcho);
  const auto statuses = rounds(kEcho, [](Client& client, int fd) { client.reset(fd); });
  EXPECT_EQ(rise(statuses, "released_free"), kRounds);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(kernel_ports(kHost, kEcho).waiting, 0);
  expect_free(kEcho, 8);
}

TEST_P(Release, RefusedConnectsTakeNoPort) {
  start(8);
  make_lane(kNobody);
  Client client(poold->shim());
  const nlohmann::json before = poold->status();
  for (int i = 0; i < kRounds; ++i) EXPECT_EQ(client.connect(kNobody).error, "ECONNREFUSED") << i;
  const nlohmann::json after = poold->status();
  EXPECT_EQ(pool_connects(after) - pool_connects(before), static_cast<unsigned>(kRounds));
  EXPECT_TRUE(lane_comes_true(kNobody)) << lane(kNobody);
  expect_free(kNobody, 8);
}

// With all sockets still open. One that was bound keeps its port until it is closed.
TEST_P(Release, RefusedSocketsThatStayOpen) {
  start(8);
  make_lane(kNobody);
  Client client(poold->shim());
  std::vector<std::string> files;
  for (int i = 0; i < (strategy() == "bind" ? 8 : kRounds); ++i) {
    files.push_back(client.ask("open"));
    EXPECT_EQ(client.ask("try " + files.back() + " " + kNobody), "ECONNREFUSED") << i;
    EXPECT_EQ(client.ask("try " + files.back() + " " + kNobody), "ECONNREFUSED") << i;
  }
  if (strategy() == "bind") {
    for (const std::string& file : files) client.ask("close " + file);
  }
  EXPECT_TRUE(lane_comes_true(kNobody)) << lane(kNobody);
  expect_free(kNobody, 8);
}

PORTPOOL_EACH_STRATEGY(Release);

}  // namespace
}  // namespace portpool::test
