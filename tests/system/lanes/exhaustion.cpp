// Every port toward a destination is in use: what calls get, and how soon that ends.
#include <csignal>

#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

const std::string kFailFast = "[[pool]]\nname = \"test\"\non_exhaustion = \"fail-fast\"\n";

class Exhaustion : public EachStrategy {
 protected:
  // All ports held by a program without the shim.
  void start_full(const std::string& config) {
    start(8, config);
    make_lane(kEcho);
    for (int i = 0; i < 8; ++i) {
      const Connected connected = foreign->connect(kEcho);
      ASSERT_EQ(connected.error, "ok");
      files.push_back(connected.fd);
    }
  }

  // Calls in quick succession, for now and then one asks the kernel all the same. True when one was
  // refused at once.
  bool fails_fast(Client& client) {
    const int before = counter(poold->status(), "failed_fast");
    return eventually([&] {
      EXPECT_EQ(client.ask("ports " + kEcho + " 50").find("127.0.0.1"), std::string::npos);
      return counter(poold->status(), "failed_fast") > before;
    });
  }

  std::unique_ptr<Client> foreign = std::make_unique<Client>(native());
  std::vector<int> files;
};

TEST_P(Exhaustion, TheKernelsErrorByDefault) {
  start_full("");
  Client client(poold->shim());
  const nlohmann::json before = poold->status();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(client.connect(kEcho).error, "EADDRNOTAVAIL");
  const nlohmann::json after = poold->status();
  EXPECT_EQ(number(after.at("results"), "EADDRNOTAVAIL"),
            number(before.at("results"), "EADDRNOTAVAIL") + 10);
  EXPECT_EQ(counter(after, "failed_fast"), 0);
  EXPECT_EQ(kernel_connects(after) - kernel_connects(before), 10U);
  EXPECT_EQ(fallbacks(after, "lane_full") + fallbacks(after, "rejected") -
                fallbacks(before, "lane_full") - fallbacks(before, "rejected"),
            10U);
  // The last one given back is there for the very next call.
  foreign->reset(files[0]);
  EXPECT_EQ(client.connect(kEcho).error, "ok");
}

TEST_P(Exhaustion, FailFastSparesTheKernel) {
  start_full(kFailFast);
  Client client(poold->shim());
  EXPECT_TRUE(fails_fast(client)) << poold->status();
  const nlohmann::json before = poold->status();
  client.ask("ports " + kEcho + " 2000");
  const nlohmann::json after = poold->status();
  EXPECT_GT(counter(after, "failed_fast"), counter(before, "failed_fast"));
  EXPECT_EQ(number(after.at("results"), "EADDRNOTAVAIL"),
            number(before.at("results"), "EADDRNOTAVAIL") + 2000);
  // Those refused at once and those that asked the kernel are all of them.
  EXPECT_EQ(pool_connects(after) + kernel_connects(after) - pool_connects(before) -
                kernel_connects(before),
            2000U);
}

TEST_P(Exhaustion, FailFastEndsWhenAnotherProgramGivesAPortBack) {
  start_full(kFailFast);
  Client client(poold->shim());
  for (int round = 0; round < 4; ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(fails_fast(client)) << poold->status();
    foreign->reset(files[static_cast<std::size_t>(round)]);
    EXPECT_TRUE(eventually([&] { return client.connect(kEcho).ok(); })) << lane(kEcho);
  }
}

TEST_P(Exhaustion, FailFastEndsWhenThisProgramGivesAPortBack) {
  start(8, kFailFast);
  make_lane(kEcho);
  Client client(poold->shim());
  ASSERT_EQ(client.hold(kEcho, 8), 8);
  EXPECT_TRUE(fails_fast(client)) << poold->status();
  client.reset_all();
  EXPECT_TRUE(eventually([&] { return client.hold(kEcho, 8) > 0; })) << lane(kEcho);
}

// The first call that the kernel lets through says that there are ports again: those after it ask
// the kernel too, as many as there are ports.
TEST_P(Exhaustion, FailFastEndsWithTheFirstThatSucceeds) {
  start_full(kFailFast);
  Client client(poold->shim());
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(fails_fast(client)) << poold->status();
    for (int i = 0; i < 4; ++i) foreign->reset(files[static_cast<std::size_t>(i)]);
    EXPECT_EQ(client.ask("first_ok " + kEcho + " 3"), "ok ok ok ");
    client.reset_all();
    for (int i = 0; i < 4; ++i) {
      Connected connected;
      // A port that the client has just given back may be one that is still marked as used.
      ASSERT_TRUE(eventually([&] { return (connected = foreign->connect(kEcho)).ok(); }));
      files[static_cast<std::size_t>(i)] = connected.fd;
    }
  }
}

// The same where nobody else notices: no look of poold's comes between.
TEST_P(Exhaustion, FailFastEndsWithTheFirstThatSucceedsWithoutPoold) {
  start_full(kFailFast);
  Client client(poold->shim());
  ASSERT_TRUE(fails_fast(client)) << poold->status();
  poold->process().signal(SIGSTOP);
  for (int i = 0; i < 4; ++i) foreign->reset(files[static_cast<std::size_t>(i)]);
  EXPECT_EQ(client.ask("first_ok " + kEcho + " 3"), "ok ok ok ");
  poold->process().signal(SIGCONT);
}

// Failing fast is for the full destination alone.
TEST_P(Exhaustion, OtherDestinationsAreNotAffected) {
  start(8, kFailFast);
  make_lane(kEcho);
  make_lane(kOtherEcho);
  Client client(poold->shim());
  ASSERT_EQ(client.hold(kEcho, 20), 8);
  const nlohmann::json before = poold->status();
  EXPECT_EQ(client.hold(kOtherEcho, 8), 8);
  const nlohmann::json after = poold->status();
  EXPECT_EQ(pool_connects(after) - pool_connects(before), 8U);
  EXPECT_EQ(counter(after, "failed_fast"), counter(before, "failed_fast"));
  EXPECT_TRUE(lane_comes_true(kEcho) && lane_comes_true(kOtherEcho)) << poold->status();
}

// A destination seen for the first time has no lane yet, and takes the kernel's path.
TEST_P(Exhaustion, DestinationsWithoutALaneAreNotAffected) {
  start(8);
  make_lane(kEcho);
  Client client(poold->shim());
  ASSERT_EQ(client.hold(kEcho, 8), 8);
  EXPECT_EQ(client.hold(kOtherEcho, 8), 8);
}

// The same when others hold the ports.
TEST_P(Exhaustion, OtherDestinationsAreNotAffectedByOthers) {
  start_full("");
  make_lane(kOtherEcho);
  Client client(poold->shim());
  EXPECT_EQ(client.connect(kEcho).error, "EADDRNOTAVAIL");
  EXPECT_EQ(client.hold(kOtherEcho, 8), 8);
}

PORTPOOL_EACH_STRATEGY(Exhaustion);

}  // namespace
}  // namespace portpool::test
