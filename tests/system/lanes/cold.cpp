// Destinations that are called once have no lane; those that come again have.
#include "support/sockets.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

constexpr int kDestinations = 1000;

std::string destination(int i) {
  return "127.7." + std::to_string(i / 250) + "." + std::to_string(1 + i % 250) + ":9001";
}

class Cold : public EachStrategy {
 protected:
  // More lanes than destinations: near its end the table gives up those that have been idle.
  void SetUp() override { start(10'000, "max_lanes = 2048\n"); }
};

TEST_P(Cold, CalledOnce) {
  Client client(poold->shim());
  for (int i = 0; i < kDestinations; ++i) {
    const Connected connected = client.connect(destination(i));
    ASSERT_TRUE(connected.ok()) << destination(i) << ": " << connected.error;
    client.reset(connected.fd);
  }
  // Lanes are made in the order in which they are asked for: by now it would have those, too.
  make_lane(kOtherEcho);
  const nlohmann::json status = poold->status();
  EXPECT_EQ(status.at("lanes").size(), 1U);
  EXPECT_EQ(fallbacks(status, "no_lane"), kernel_connects(status));
}

TEST_P(Cold, CalledAgain) {
  Client client(poold->shim());
  // Again where a request found no slot, or the machine stood still between the two calls.
  EXPECT_TRUE(eventually([&] {
    for (int i = 0; i < kDestinations; ++i) client.ask("ports " + destination(i) + " 2");
    return poold->status().at("lanes").size() == kDestinations;
  })) << poold->status().at("lanes").size();
}

GUEST(call_once) { CHECK_THAT(connected_socket(SocketAddress(arguments.at(0))) >= 0); }

// As curl in a loop.
TEST_P(Cold, ByAProcessForEachCall) {
  ASSERT_TRUE(eventually([&] {
    EXPECT_EQ(run_guest("call_once", poold->shim(), {kEcho}), GuestResult{});
    return !lane(kEcho).is_null();
  }));
  EXPECT_TRUE(eventually([&] {
    const std::uint64_t before = pool_connects(poold->status());
    EXPECT_EQ(run_guest("call_once", poold->shim(), {kEcho}), GuestResult{});
    return pool_connects(poold->status()) > before;
  }));
}

PORTPOOL_EACH_STRATEGY(Cold);

}  // namespace
}  // namespace portpool::test
