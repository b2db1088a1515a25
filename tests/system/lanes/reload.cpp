// SIGHUP: a good configuration takes effect in running programs, a bad one changes nothing.
#include <csignal>
#include <fstream>

#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

class Reload : public EachStrategy {
 protected:
  void reload(const std::string& config) {
    std::ofstream(poold->config_path()) << "strategy = \"" << strategy() << "\"\n" << config;
    poold->process().signal(SIGHUP);
  }

  // Until connects come from `source` by the pool.
  bool source_becomes(Client& client, const std::string& source) {
    return eventually([&] {
      const std::uint64_t before = pool_connects(poold->status());
      const Connected connected = client.connect(kEcho);
      EXPECT_EQ(connected.error, "ok");
      client.reset(connected.fd);
      return connected.source() == source && pool_connects(poold->status()) > before;
    });
  }
};

TEST_P(Reload, NewSourcesTakeEffect) {
  start(64);
  make_lane(kEcho);
  Client client(poold->shim());
  ASSERT_TRUE(source_becomes(client, kHost));
  const Connected kept = client.connect(kEcho);
  for (const std::string source : {"127.0.0.2", "127.0.0.3"}) {
    reload("[[pool]]\nsources = [\"" + source + "\"]\n");
    EXPECT_TRUE(source_becomes(client, source)) << poold->status();
    EXPECT_TRUE(lane_comes_true(kEcho, source)) << poold->status();
  }
  reload("");
  EXPECT_TRUE(source_becomes(client, kHost)) << poold->status();
  // What was open all along still is, and its lane knows.
  EXPECT_EQ(client.ask("echo " + std::to_string(kept.fd)), "ok");
  EXPECT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  EXPECT_EQ(number(lane(kEcho), "in_use"), 1);
}

TEST_P(Reload, NewPortRangeTakesEffect) {
  start(64);
  make_lane(kEcho);
  Client client(poold->shim());
  reload("[[pool]]\nname = \"narrow\"\nport_range = \"" + std::to_string(kLow + 20) + "-" +
         std::to_string(kLow + 23) + "\"\n");
  ASSERT_TRUE(eventually_lane(kEcho, [](const auto& now) {
    return number(now, "capacity") == 4 && now.at("pool") == "narrow";
  })) << poold->status();
  ASSERT_TRUE(lane_comes_true(kEcho)) << lane(kEcho);
  ASSERT_TRUE(source_becomes(client, kHost));
  for (int i = 0; i < 4; ++i) {
    const Connected connected = client.connect(kEcho);
    ASSERT_EQ(connected.error, "ok");
    EXPECT_GE(connected.port(), kLow + 20);
    EXPECT_LE(connected.port(), kLow + 23);
  }
}

TEST_P(Reload, BadFileChangesNothing) {
  start(64, "[[pool]]\nsources = [\"127.0.0.2\"]\n");
  make_lane(kEcho);
  Client client(poold->shim());
  ASSERT_TRUE(source_becomes(client, "127.0.0.2"));
  int complaints = 0;
  for (const char* bad : {"[[pool]]\nsources = [\"10.9.8\"]\n", "mode = \"fast\"\n", "[[pool\n"}) {
    SCOPED_TRACE(bad);
    reload(bad);
    ++complaints;
    EXPECT_TRUE(eventually([&] {
      const std::string log = poold->process().err();
      int found = 0;
      for (std::size_t at = 0; (at = log.find("stays in force", at)) != std::string::npos; ++at) {
        ++found;
      }
      return found == complaints;
    })) << poold->process().err();
    const std::uint64_t before = pool_connects(poold->status());
    const Connected connected = client.connect(kEcho);
    EXPECT_EQ(connected.source(), "127.0.0.2");
    EXPECT_EQ(pool_connects(poold->status()) - before, 1U);
    client.reset(connected.fd);
  }
}

// At start it would be an error.
TEST_P(Reload, AnAbsentSourceIsAWarning) {
  start(64);
  make_lane(kEcho);
  Client client(poold->shim());
  reload("[[pool]]\nsources = [\"10.9.8.7\", \"127.0.0.2\"]\n");
  EXPECT_TRUE(source_becomes(client, "127.0.0.2")) << poold->status();
  std::string log;
  EXPECT_TRUE(eventually([&] {
    log = poold->process().err();
    return log.find("configuration reloaded") != std::string::npos;
  })) << log;
  EXPECT_NE(log.find(poold->config_path() + ":3:12: source 10.9.8.7 does not belong to this host"),
            std::string::npos)
      << log;
}

PORTPOOL_EACH_STRATEGY(Reload);

}  // namespace
}  // namespace portpool::test
