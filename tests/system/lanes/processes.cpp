// Children that never exec, and programs that do: all use the pool, and lanes stay true.
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

class Processes : public EachStrategy {
 protected:
  void SetUp() override {
    start(64);
    make_lane(kEcho);
  }
};

TEST_P(Processes, PreforkedChildrenUseThePool) {
  Client client(poold->shim());
  const nlohmann::json before = poold->status();
  EXPECT_EQ(client.ask("prefork 4 " + kEcho + " 100"), "ok");
  EXPECT_EQ(client.hold(kEcho, 10), 10);
  const nlohmann::json after = poold->status();
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 410U);
  EXPECT_EQ(kernel_connects(after), kernel_connects(before));
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "in_use"), 10);
}

// The daemon starts after the parent: its children find it by themselves.
TEST_P(Processes, PreforkedChildrenFindANewDaemon) {
  Client client(poold->shim());
  poold->restart();
  make_lane(kEcho);
  ASSERT_TRUE(eventually([&] {
    const std::uint64_t before = pool_connects(poold->status());
    EXPECT_EQ(client.ask("prefork 2 " + kEcho + " 20"), "ok");
    return pool_connects(poold->status()) > before;
  })) << poold->status();
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
}

TEST_P(Processes, ExecKeepsSocketsAndUsesThePool) {
  Client client(poold->shim());
  const Connected before_exec = client.connect(kEcho);
  ASSERT_EQ(before_exec.error, "ok");
  EXPECT_EQ(client.ask("exec"), "ok");
  EXPECT_EQ(client.ask("echo " + std::to_string(before_exec.fd)), "ok");
  const nlohmann::json before = poold->status();
  EXPECT_EQ(client.hold(kEcho, 10), 10);
  EXPECT_EQ(pool_connects(poold->status()) - pool_connects(before), 10U);
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "in_use"), 11);
  // The new image knows nothing of the old one's socket; the lane learns of its close all the same.
  client.close(before_exec.fd);
  client.reset_all();
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "in_use"), 0);
}

PORTPOOL_EACH_STRATEGY(Processes);

}  // namespace
}  // namespace portpool::test
