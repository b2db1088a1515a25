// Programs without the shim open and close connections to the same destination.
#include <deque>

#include "support/sockets.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

// churn DESTINATION COUNT: COUNT connects, of which the last eight are kept open. Says how many
// failed.
GUEST(churn) {
  const SocketAddress destination(arguments.at(0));
  std::deque<int> open;
  int failed = 0;
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = connected_socket(destination);
    if (fd < 0) {
      ++failed;
      continue;
    }
    CHECK_THAT(echo_round_trip(fd));
    open.push_back(fd);
    if (open.size() < 8) continue;
    close_with_reset(open.front());
    open.pop_front();
  }
  for (const int fd : open) close_with_reset(fd);
  say("failed " + std::to_string(failed));
}

class ForeignTraffic : public EachStrategy {
 protected:
  const Arguments arguments{kEcho, "1500"};
};

// Four processes with eight sockets each, in 64 ports: natively nobody fails.
TEST_P(ForeignTraffic, NoConnectFailsThatWouldNotNatively) {
  start(64);
  make_lane(kEcho);
  Process first = start_guest("churn", native(), arguments);
  Process second = start_guest("churn", native(), arguments);
  Process third = start_guest("churn", poold->shim(), arguments);
  Process fourth = start_guest("churn", poold->shim(), arguments);
  for (Process* process : {&first, &second, &third, &fourth}) {
    EXPECT_EQ(process->wait(), 0) << process->err();
  }
  EXPECT_EQ(third.out(), "failed 0\n");
  EXPECT_EQ(fourth.out(), "failed 0\n");
  // The kernel's choice leaves out ports that were bound, whoever is connected from them.
  if (strategy() == "port-range") {
    EXPECT_EQ(first.out(), "failed 0\n");
    EXPECT_EQ(second.out(), "failed 0\n");
  }
  EXPECT_GT(pool_connects(poold->status()), 0U);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "free"), 64);
}

// Connections that others hold or leave in TIME_WAIT are the lane's knowledge too.
TEST_P(ForeignTraffic, LaneFollowsOthers) {
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "0");
  start(64);
  make_lane(kEcho);
  Client foreign(native());
  const Connected closed = foreign.connect(kEcho);
  ASSERT_EQ(closed.error, "ok");
  ASSERT_EQ(foreign.hold(kEcho, 30), 30);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "in_use"), 31);
  foreign.close(closed.fd);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "in_use"), 30);
  EXPECT_EQ(number(lane(kEcho), "quarantined"), 1);
  foreign.reset_all();
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "free"), 63);
}

// All that the others leave, and not one more.
TEST_P(ForeignTraffic, WhatOthersHoldIsMissing) {
  start(64);
  make_lane(kEcho);
  Client foreign(native());
  Client client(poold->shim());
  for (const int held : {20, 60, 64, 3}) {
    SCOPED_TRACE(held);
    ASSERT_EQ(foreign.hold(kEcho, held), held);
    EXPECT_EQ(client.hold(kEcho, 70), 64 - held);
    client.reset_all();
    foreign.reset_all();
  }
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
}

PORTPOOL_EACH_STRATEGY(ForeignTraffic);

}  // namespace
}  // namespace portpool::test
