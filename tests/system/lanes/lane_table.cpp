// More destinations than lanes.
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

constexpr std::uint16_t kFirst = 9201;
constexpr int kDestinations = 12;
constexpr std::size_t kLanes = 4;

std::string destination(int i) { return kHost + ":" + std::to_string(kFirst + i); }

std::vector<std::uint16_t> server_ports() {
  std::vector<std::uint16_t> ports;
  for (int i = 0; i < kDestinations; ++i) ports.push_back(static_cast<std::uint16_t>(kFirst + i));
  return ports;
}

class LaneTable : public EachStrategy {
 protected:
  void SetUp() override { start(64, "max_lanes = " + std::to_string(kLanes) + "\n"); }

  EchoServer servers{server_ports()};
};

TEST_P(LaneTable, WithoutALaneTheKernelsPathServes) {
  Client client(poold->shim());
  for (int i = 0; i < static_cast<int>(kLanes); ++i) make_lane(destination(i));
  const nlohmann::json before = poold->status();
  constexpr int kRounds = 5;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kDestinations; ++i) {
      const Connected connected = client.connect(destination(i));
      EXPECT_EQ(connected.error, "ok") << destination(i);
      EXPECT_EQ(client.ask("echo " + std::to_string(connected.fd)), "ok");
      client.reset(connected.fd);
    }
  }
  const nlohmann::json after = poold->status();
  EXPECT_EQ(after.at("lanes").size(), kLanes);
  const nlohmann::json table = {
      {"places", kLanes}, {"taken", kLanes}, {"in_service", kLanes}, {"full", true}};
  EXPECT_EQ(after.at("lane_table"), table);
  const std::uint64_t with_lane = kRounds * kLanes;
  const std::uint64_t without = kRounds * (kDestinations - kLanes);
  EXPECT_EQ(pool_connects(after) - pool_connects(before), with_lane);
  EXPECT_EQ(kernel_connects(after) - kernel_connects(before), without);
  EXPECT_EQ(fallbacks(after, "no_lane") - fallbacks(before, "no_lane"), without);
}

// A lane that nobody has used for a while gives its place to a destination that asks.
TEST_P(LaneTable, IdleLanesMakeRoom) {
  for (int i = 0; i < static_cast<int>(kLanes); ++i) make_lane(destination(i));
  Client client(poold->shim());
  const int held = 1;  // in use: it may not go, though nobody connects
  ASSERT_TRUE(client.connect(destination(held)).ok());
  ASSERT_TRUE(eventually([&] {
    // Always in use.
    client.ask("ports " + destination(0) + " 1");
    client.ask("ports " + destination(7) + " 1");
    return !lane(destination(7)).is_null();
  })) << poold->status();
  const nlohmann::json status = poold->status();
  EXPECT_LE(status.at("lanes").size(), kLanes);
  EXPECT_FALSE(lane_of(status, destination(0)).is_null()) << status;
  EXPECT_FALSE(lane_of(status, destination(held)).is_null()) << status;
  // The new lane starts true, and serves.
  EXPECT_TRUE(lane_comes_true(destination(7))) << lane(destination(7));
  EXPECT_EQ(number(lane(destination(7)), "free"), 64);
  EXPECT_EQ(client.hold(destination(7), 64), 64);
  EXPECT_EQ(pool_connects(poold->status()) - pool_connects(status), 64U);
  client.ask("reset_all");
  // The retired destinations go on as well.
  for (int i = 0; i < kDestinations; ++i) {
    EXPECT_EQ(client.connect(destination(i)).error, "ok") << i;
  }
}

// Once: the ports of ended programs came free when two passes had missed them, their lanes when
// they had been idle for ten seconds, and a table that was full stood so for minutes.
TEST_P(LaneTable, ProgramsThatEndWithoutClosingLeaveRoom) {
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kDestinations; ++i) {
      ASSERT_TRUE(eventually([&] {
        Client client(poold->shim());  // ends by a signal, with its connection open
        EXPECT_TRUE(client.connect(destination(i)).ok());
        return !lane(destination(i)).is_null();
      })) << destination(i)
          << poold->status();
    }
  }
  EXPECT_TRUE(poold->eventually_status([](const nlohmann::json& status) {
    for (const nlohmann::json& lane : status.at("lanes")) {
      if (number(lane, "in_use") != 0) return false;
    }
    return true;
  })) << poold->status();
}

PORTPOOL_EACH_STRATEGY(LaneTable);

}  // namespace
}  // namespace portpool::test
