// Several source addresses: more ports toward one destination.
#include <set>
#include <sstream>

#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

std::string pool_with(const std::string& sources, const std::string& more = "") {
  return "[[pool]]\nname = \"test\"\nsources = [" + sources + "]\n" + more;
}

class Sources : public EachStrategy {
 protected:
  // Connects `count` times and holds; the source of each, or its error.
  std::vector<std::string> sources_of(Client& client, int count,
                                      const std::string& destination = kEcho) {
    std::vector<std::string> sources;
    for (int i = 0; i < count; ++i) {
      const Connected connected = client.connect(destination);
      sources.push_back(connected.ok() ? connected.source() : connected.error);
    }
    return sources;
  }
};

std::vector<std::string> times(std::size_t count, const std::string& text) {
  return std::vector<std::string>(count, text);
}

TEST_P(Sources, FillTakesTheSecondWhenTheFirstIsFull) {
  start(8, pool_with("\"127.0.0.2\", \"127.0.0.3\""));
  make_lane(kEcho);
  Client client(poold->shim());
  EXPECT_EQ(sources_of(client, 8), times(8, "127.0.0.2"));
  EXPECT_EQ(sources_of(client, 8), times(8, "127.0.0.3"));
  for (const char* source : {"127.0.0.2", "127.0.0.3"}) {
    EXPECT_TRUE(lane_comes_true(kEcho, source)) << poold->status();
    EXPECT_EQ(number(lane(kEcho, source), "in_use"), 8);
  }
  // After that the kernel decides, and it has the routes' own source address.
  if (strategy() == "port-range") {
    EXPECT_EQ(sources_of(client, 1), times(1, kHost));
  }
  client.reset_all();
  for (const char* source : {"127.0.0.2", "127.0.0.3"}) {
    EXPECT_TRUE(lane_comes_true(kEcho, source)) << poold->status();
    EXPECT_EQ(number(lane(kEcho, source), "free"), 8);
  }
}

TEST_P(Sources, BalanceUsesAllOfAPrefix) {
  start(64, pool_with("\"127.0.0.4/30\"", "source_policy = \"balance\"\n"));
  make_lane(kEcho);
  Client client(poold->shim());
  const auto used = sources_of(client, 64);
  EXPECT_EQ(std::set<std::string>(used.begin(), used.end()),
            (std::set<std::string>{"127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"}));
  // To the last port of all four.
  EXPECT_EQ(client.hold(kEcho, 3 * 64), 3 * 64);
  for (const char* source : {"127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"}) {
    EXPECT_TRUE(lane_comes_true(kEcho, source)) << poold->status();
    EXPECT_EQ(number(lane(kEcho, source), "in_use"), 64);
  }
}

// Natively the ninth connect fails; under the shim the same call succeeds.
TEST_P(Sources, SecondSourceMakesTheFailingCaseWork) {
  start(8, pool_with("\"127.0.0.1\", \"127.0.0.2\""));
  make_lane(kEcho);
  Client foreign(native());
  ASSERT_EQ(foreign.hold(kEcho, 8), 8);
  EXPECT_EQ(foreign.connect(kEcho).error, "EADDRNOTAVAIL");
  Client client(poold->shim());
  const Connected connected = client.connect(kEcho);
  EXPECT_EQ(connected.error, "ok");
  EXPECT_EQ(connected.source(), "127.0.0.2");
  EXPECT_EQ(client.ask("echo " + std::to_string(connected.fd)), "ok");
  EXPECT_EQ(client.hold(kEcho, 7), 7);
}

TEST_P(Sources, AddressOfTheProgramsChoiceStandsAndHasItsOwnLane) {
  start(8, pool_with("\"127.0.0.2\""));
  make_lane(kEcho);
  Client client(poold->shim());
  EXPECT_EQ(client.connect(kEcho, "127.0.0.9").source(), "127.0.0.9");
  ASSERT_TRUE(eventually([&] {
    client.reset(client.connect(kEcho, "127.0.0.9").fd);
    return !lane(kEcho, "127.0.0.9").is_null();
  })) << poold->status();
  // The connection that asked for the lane was open when poold filled it.
  ASSERT_TRUE(lane_comes_true(kEcho, "127.0.0.9")) << poold->status();
  const nlohmann::json before = poold->status();
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(client.connect(kEcho, "127.0.0.9").source(), "127.0.0.9");
  }
  EXPECT_EQ(pool_connects(poold->status()) - pool_connects(before), 7U);
  EXPECT_TRUE(lane_comes_true(kEcho, "127.0.0.9"));
  EXPECT_EQ(number(lane(kEcho, "127.0.0.9"), "in_use"), 8);
  // Full: no other address is used in its place.
  EXPECT_EQ(client.connect(kEcho, "127.0.0.9").error, "EADDRNOTAVAIL");
  EXPECT_EQ(client.connect(kEcho).source(), "127.0.0.2");
}

// Sources that cannot reach a destination are left out for it.
TEST_P(Sources, LoopbackDestinationKeepsToLoopbackSources) {
  net.add_address("10.9.8.7/32");
  start(8, pool_with("\"10.9.8.7\", \"127.0.0.2\""));
  make_lane(kEcho);
  make_lane("10.9.8.7:9001");
  Client client(poold->shim());
  EXPECT_EQ(sources_of(client, 4), times(4, "127.0.0.2"));
  EXPECT_EQ(sources_of(client, 4, "10.9.8.7:9001"), times(4, "10.9.8.7"));
  EXPECT_EQ(lane(kEcho, "10.9.8.7"), nullptr);
}

TEST_P(Sources, WithoutAFittingSourceRoutingDecides) {
  net.add_address("10.9.8.7/32");
  start(8, pool_with("\"10.9.8.7\""));
  make_lane(kEcho);
  Client client(poold->shim());
  EXPECT_EQ(sources_of(client, 4), times(4, kHost));
}

// A socket on which every source has failed is as the kernel's own failure leaves it, and goes on
// to another destination with the address that routing picks for that.
TEST_P(Sources, AfterFailureTheSocketIsAsBefore) {
  net.add_address("10.9.8.7/32");
  start(2, pool_with("\"127.0.0.2\", \"127.0.0.3\""));
  make_lane(kEcho);
  Client foreign(native());
  for (const std::string source : {"127.0.0.1", "127.0.0.2", "127.0.0.3"}) {
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(foreign.connect(kEcho, source + " late").error, "ok");
    }
  }
  Client client(poold->shim());
  for (Client* each : {&foreign, &client}) {
    SCOPED_TRACE(each == &foreign ? "natively" : "under the shim");
    const std::string file = each->ask("open");
    EXPECT_EQ(each->ask("try " + file + " " + kEcho), "EADDRNOTAVAIL");
    EXPECT_EQ(each->ask("name " + file), "0.0.0.0:0");
    EXPECT_EQ(each->ask("try " + file + " 10.9.8.7:9001"), "ok");
    EXPECT_TRUE(each->ask("name " + file).starts_with("10.9.8.7:")) << each->ask("name " + file);
    EXPECT_EQ(each->ask("echo " + file), "ok");
    each->ask("reset " + file);
  }
}

TEST_P(Sources, AfterARefusedConnectTheSocketIsUnbound) {
  start(8, pool_with("\"127.0.0.2\""));
  make_lane(kNobody);
  Client natively(native());
  Client client(poold->shim());
  const std::string file = client.ask("open");
  const std::string native_file = natively.ask("open");
  EXPECT_EQ(natively.ask("try " + native_file + " " + kNobody), "ECONNREFUSED");
  EXPECT_EQ(client.ask("try " + file + " " + kNobody), "ECONNREFUSED");
  const std::string name = client.ask("name " + file);
  const std::string native_name = natively.ask("name " + native_file);
  // One that was bound keeps the pool's address and port until it is closed.
  EXPECT_EQ(name.substr(0, name.find(':')),
            strategy() == "bind" ? "127.0.0.2" : native_name.substr(0, native_name.find(':')));
  EXPECT_EQ(client.ask("try " + file + " " + kEcho), "ok");
  EXPECT_EQ(client.ask("echo " + file), "ok");
}

TEST_F(LaneNet, SourcesThatAreNotThisHostsAreRefusedByName) {
  const TempDir directory;
  for (const std::string source : {"10.9.8.7", "192.0.2.0/30", "2001:db8::1"}) {
    const std::string path =
        directory.write("poold.toml", pool_with("\"127.0.0.2\", \"" + source + "\""));
    Process daemon(
        {poold_path(), "serve", "--config", path, "--socket", directory.file("poold.sock")});
    EXPECT_EQ(daemon.wait(), 2) << daemon.err();
    EXPECT_NE(daemon.err().find(path + ":3:25: "), std::string::npos) << daemon.err();
    EXPECT_NE(daemon.err().find(source), std::string::npos) << daemon.err();
  }
}

TEST_F(LaneNet, AbsentSourcesMayBeOptional) {
  net.add_address("10.9.8.9/32");
  const std::string destination = "10.9.8.9:9001";
  start(64, "sources_optional = true\n" + pool_with("\"10.9.8.7\""));
  const std::string log = poold->process().err();
  EXPECT_NE(log.find("source 10.9.8.7 does not belong to this host"), std::string::npos) << log;
  Client client(poold->shim());
  const auto connect_from = [&] {
    const Connected connected = client.connect(destination);
    client.reset(connected.fd);
    return connected.source();
  };
  // By routing, and not by a lane of the pool's.
  EXPECT_TRUE(eventually([&] {
    EXPECT_EQ(connect_from(), "10.9.8.9");
    return fallbacks(poold->status(), "no_source") > 0;
  })) << poold->status();
  EXPECT_EQ(pool_connects(poold->status()), 0U);
  net.add_address("10.9.8.7/32");
  EXPECT_TRUE(eventually([&] { return connect_from() == "10.9.8.7"; })) << poold->status();
}

class ComingAndGoing : public Sources {
 protected:
  const std::string kThere = "10.9.8.9:9001";

  void start_with_three() {
    for (const char* last : {"1", "2", "3", "9"})
      net.add_address(std::string("10.9.8.") + last + "/32");
    start(64,
          pool_with("\"10.9.8.1\", \"10.9.8.2\", \"10.9.8.3\"", "source_policy = \"balance\"\n"));
    make_lane(kThere);
  }
  bool is_said(const std::string& text, int times) const {
    const auto count = [&] {
      const std::string log = poold->process().err();
      int found = 0;
      for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++found;
      return found;
    };
    return eventually([&] { return count() == times; }) && count() == times;
  }
  // Sources of 100 connects that are reset at once.
  std::set<std::string> used(Client& client) {
    std::istringstream answer(client.ask("ports " + kThere + " 100"));
    std::set<std::string> sources;
    for (std::string local; answer >> local;) sources.insert(local.substr(0, local.rfind(':')));
    return sources;
  }
};

TEST_P(ComingAndGoing, OneGoesAndComesBack) {
  start_with_three();
  Client client(poold->shim());
  using Set = std::set<std::string>;
  EXPECT_EQ(used(client), (Set{"10.9.8.1", "10.9.8.2", "10.9.8.3"}));
  for (int turn = 1; turn <= 2; ++turn) {
    net.remove_address("10.9.8.2/32");
    ASSERT_TRUE(is_said("source 10.9.8.2 is gone", turn)) << poold->process().err();
    make_lane(kThere);
    const nlohmann::json before = poold->status();
    EXPECT_EQ(used(client), (Set{"10.9.8.1", "10.9.8.3"}));
    const nlohmann::json after = poold->status();
    EXPECT_EQ(pool_connects(after) - pool_connects(before), 100U) << after.at("fallbacks");
    net.add_address("10.9.8.2/32");
    ASSERT_TRUE(is_said("source 10.9.8.2 has come", turn)) << poold->process().err();
    make_lane(kThere);
    EXPECT_EQ(used(client), (Set{"10.9.8.1", "10.9.8.2", "10.9.8.3"}));
  }
  EXPECT_TRUE(is_said("source 10.9.8.2 is gone", 2)) << poold->process().err();
}

TEST_P(ComingAndGoing, WithoutAnyTheDestinationIsRefused) {
  start_with_three();
  Client client(poold->shim());
  for (const char* last : {"1", "2", "3"})
    net.remove_address(std::string("10.9.8.") + last + "/32");
  ASSERT_TRUE(is_said("no source is left", 1)) << poold->process().err();
  // It is said before the directory has it.
  ASSERT_TRUE(eventually([&] {
    client.ask("ports " + kThere + " 1");
    return fallbacks(poold->status(), "no_source") > 0;
  })) << poold->status();
  const nlohmann::json before = poold->status();
  EXPECT_EQ(sources_of(client, 10, kThere), times(10, "10.9.8.9"));
  const nlohmann::json after = poold->status();
  EXPECT_EQ(fallbacks(after, "no_source") - fallbacks(before, "no_source"), 10U);
  EXPECT_EQ(pool_connects(after), pool_connects(before));
}

// A hundred destinations, all of them at once, and none is without lanes in between.
TEST_F(LaneNet, AllAnswersWithTheVanishedSourceAreReplacedInPlace) {
  constexpr int kMany = 100;
  net.add_address("10.9.8.1/32");
  net.add_address("10.9.8.2/32");
  net.add_address("10.9.9.1/24");  // on lo: all 254 of them
  start(64, pool_with("\"10.9.8.1\", \"10.9.8.2\""));
  Client client(poold->shim());
  const auto connects_from = [&](const std::string& source) {
    int count = 0;
    for (int i = 1; i <= kMany; ++i) {
      const std::string answer = client.ask("ports 10.9.9." + std::to_string(i) + ":9001 1");
      if (answer.starts_with(source + ":")) ++count;
    }
    return count;
  };
  const auto without_lane = [&] { return fallbacks(poold->status(), "no_lane"); };
  const auto has_said = [&](const std::string& what) {
    return poold->process().err().find("source 10.9.8.1 " + what) != std::string::npos;
  };
  ASSERT_TRUE(eventually([&] { return connects_from("10.9.8.1") == kMany; })) << poold->status();
  const std::uint64_t asked = without_lane();
  net.remove_address("10.9.8.1/32");
  ASSERT_TRUE(eventually([&] { return has_said("is gone"); })) << poold->process().err();
  // The first connects may still meet the old answer, but never none.
  EXPECT_TRUE(eventually([&] { return connects_from("10.9.8.2") == kMany; })) << poold->status();
  const std::uint64_t failed = fallbacks(poold->status(), "source_failed");
  net.add_address("10.9.8.1/32");
  ASSERT_TRUE(eventually([&] { return has_said("has come"); })) << poold->process().err();
  EXPECT_TRUE(eventually([&] { return connects_from("10.9.8.1") == kMany; })) << poold->status();
  EXPECT_EQ(without_lane(), asked);
  EXPECT_EQ(fallbacks(poold->status(), "source_failed"), failed);
}

PORTPOOL_EACH_STRATEGY(Sources);
PORTPOOL_EACH_STRATEGY(ComingAndGoing);

}  // namespace
}  // namespace portpool::test
