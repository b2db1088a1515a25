// Destinations that the configuration keeps out of a pool, or out of every one.
#include <csignal>
#include <fstream>

#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

const std::string kNone = "[[pool]]\ndestinations = [\"" + kEcho + "\"]\npool = \"none\"\n";

class KeptOut : public EachStrategy {
 protected:
  std::string pool_of(const std::string& destination) const {
    return lane(destination).at("pool").get<std::string>();
  }
  // A connect that works, closed without TIME_WAIT.
  static void call(Client& client, const std::string& destination) {
    const Connected connected = client.connect(destination);
    ASSERT_TRUE(connected.ok()) << connected.error;
    client.reset(connected.fd);
  }
  // Until poold has answered.
  void call_until(const std::string& reason) const {
    Client client(poold->shim());
    ASSERT_TRUE(eventually([&] {
      call(client, kEcho);
      return fallbacks(poold->status(), reason) > 0;
    })) << poold->status();
  }
  void reload(const std::string& config) const {
    std::ofstream(poold->config_path()) << "strategy = \"" + strategy() + "\"\n" + config;
    poold->process().signal(SIGHUP);
  }
};

TEST_P(KeptOut, ExcludedDestinationsFallToTheNextRule) {
  start(64,
        "[[pool]]\nname = \"edge\"\ndestinations = [\"127.0.0.0/8\"]\n"
        "exclude = [\"127.0.0.1:9002\", \"127.0.0.2\"]\n"
        "[[pool]]\nname = \"next\"\ndestinations = [\"127.0.0.1\"]\n");
  for (const std::string destination : {"127.0.0.1:9001", "127.0.0.1:9002"}) make_lane(destination);
  poold->make_lanes({"127.0.0.2:9001"});
  EXPECT_EQ(pool_of("127.0.0.1:9001"), "edge");
  EXPECT_EQ(pool_of("127.0.0.1:9002"), "next");
  EXPECT_EQ(poold->status().at("lanes").size(), 3U);
  EXPECT_EQ(lane_from(poold->status(), "127.0.0.1", "127.0.0.2:9001").at("pool"), "default");
}

// Such calls cost poold nothing: its answer stays.
TEST_P(KeptOut, WithoutAPool) {
  start(64, kNone);
  call_until("no_pool");
  const nlohmann::json before = poold->status();
  constexpr unsigned kCalls = 200;
  Client client(poold->shim());
  for (unsigned i = 0; i < kCalls; ++i) call(client, kEcho);
  const Connected bound = client.connect(kEcho, "127.0.0.1");
  EXPECT_TRUE(bound.ok()) << bound.error;
  const nlohmann::json after = poold->status();
  EXPECT_EQ(fallbacks(after, "no_pool") - fallbacks(before, "no_pool"), kCalls);
  EXPECT_EQ(counter(after, "lane_requests"), counter(before, "lane_requests"));
  EXPECT_EQ(pool_connects(after), 0U);
  EXPECT_EQ(after.at("lanes").size(), 0U);
  // All others are served.
  make_lane(kOtherEcho);
}

// The last rule that a configuration names may be one without destinations: then only those before
// it have lanes.
TEST_P(KeptOut, AllButThoseThatAreNamed) {
  start(64, "[[pool]]\nname = \"edge\"\ndestinations = [\"" + kOtherEcho +
                "\"]\n[[pool]]\npool = \"none\"\n");
  call_until("no_pool");
  make_lane(kOtherEcho);
  EXPECT_EQ(poold->status().at("lanes").size(), 1U);
}

TEST_P(KeptOut, AReloadTakesOutAndLetsIn) {
  start(64);
  make_lane(kEcho);
  reload(kNone);
  call_until("no_pool");
  reload("");
  Client client(poold->shim());
  EXPECT_TRUE(eventually([&] {
    const std::uint64_t before = pool_connects(poold->status());
    call(client, kEcho);
    return pool_connects(poold->status()) > before;
  })) << poold->status();
}

PORTPOOL_EACH_STRATEGY(KeptOut);

}  // namespace
}  // namespace portpool::test
