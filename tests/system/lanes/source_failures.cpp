// A source that the pool chose and that does not work: the next one is taken, at last the kernel's
// own choice.
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>

#include "support/far_side.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

const std::string kFar = kFarHost + ":9001";
const std::string kFarNobody = kFarHost + ":9999";
const std::string kNames = "\"10.5.0.1\", \"10.5.0.2\", \"10.5.0.3\"";
const std::set<std::string> kAllSources{"10.5.0.1", "10.5.0.2", "10.5.0.3"};
constexpr int kConnects = 40;

// Ways in which routing refuses a source address (fib_rules(7), ip-rule(8)), and the error of each.
struct Refusal {
  const char* name;
  const char* error;
};
// For GoogleTest's messages.
[[maybe_unused]] void PrintTo(const Refusal& refusal, std::ostream* stream) {
  *stream << refusal.name;
}
constexpr Refusal kRefusals[] = {
    {"unreachable", "ENETUNREACH"},
    {"prohibit", "EACCES"},
    {"blackhole", "EINVAL"},
    // A table whose only route says so.
    {"lookup 200", "EHOSTUNREACH"},
};

class FailingSources : public LaneNet {
 protected:
  FailingSources() {
    net.set_sysctl("net.ipv4.conf.all.rp_filter", "0");
    far = std::make_unique<FarSide>(std::vector<std::uint16_t>{9001});
    for (const std::string& source : kAllSources) net.add_address(source + "/32");
    ip("route add unreachable default table 200");
  }

  void start_with_sources(const std::string& more = "") {
    start(1000, "[[pool]]\nname = \"test\"\nsources = [" + kNames + "]\n" + more);
    make_lane(kFar);
  }

  static void refuse(const std::string& source, const std::string& how) {
    ip("rule add from " + source + " " + how);
  }

  // Connects and resets; the source of each, or its error.
  static std::vector<std::string> sources_of(Client& client, int count,
                                             const std::string& destination = kFar) {
    std::istringstream words(client.ask("ports " + destination + " " + std::to_string(count)));
    std::vector<std::string> sources;
    for (std::string word; words >> word;) sources.push_back(word.substr(0, word.rfind(':')));
    return sources;
  }

  static std::vector<std::string> all(const std::string& source, int count = kConnects) {
    return std::vector<std::string>(static_cast<std::size_t>(count), source);
  }

  // How many of the next `count` connects the pool makes; all of them succeed.
  std::uint64_t by_the_pool(Client& client, int count) {
    const nlohmann::json before = poold->status();
    for (const std::string& source : sources_of(client, count)) {
      EXPECT_TRUE(kAllSources.contains(source)) << source;
    }
    return pool_connects(poold->status()) - pool_connects(before);
  }

  std::unique_ptr<FarSide> far;
};

class SourceFailures : public FailingSources,
                       public testing::WithParamInterface<std::tuple<std::string, Refusal>> {
 protected:
  std::string strategy() const override { return std::get<0>(GetParam()); }
  std::string how() const { return std::get<1>(GetParam()).name; }
  std::string error() const { return std::get<1>(GetParam()).error; }
};

TEST_P(SourceFailures, TheNextSourceIsTaken) {
  refuse("10.5.0.1", how());
  start_with_sources();
  Client natively(native());
  ASSERT_EQ(natively.connect(kFar, "10.5.0.1").error, error());
  Client client(poold->shim());
  EXPECT_EQ(sources_of(client, kConnects), all("10.5.0.2"));
  refuse("10.5.0.2", how());
  EXPECT_EQ(sources_of(client, kConnects), all("10.5.0.3"));
}

// The kernel's choice on a socket that is as if nothing had been tried.
TEST_P(SourceFailures, WithAllFailingTheKernelChooses) {
  start_with_sources();
  make_lane(kFarNobody);
  for (const std::string& source : kAllSources) refuse(source, how());
  Client natively(native());
  Client client(poold->shim());
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    EXPECT_EQ(sources_of(natively, 4), all(kFirstUplink, 4));
    EXPECT_EQ(sources_of(client, 4), all(kFirstUplink, 4));
    // Refused, and connected again.
    for (Client* each : {&natively, &client}) {
      SCOPED_TRACE(each == &natively ? "natively" : "under the shim");
      const std::string file = each->ask("open");
      EXPECT_EQ(each->ask("try " + file + " " + kFarNobody), "ECONNREFUSED");
      // With the port that was refused, or without.
      EXPECT_TRUE(each->ask("name " + file).starts_with("0.0.0.0:")) << each->ask("name " + file);
      EXPECT_EQ(each->ask("options " + file), "range 0 no_port 0 reuse 0");
      EXPECT_EQ(each->ask("try " + file + " " + kFar), "ok");
      EXPECT_TRUE(each->ask("name " + file).starts_with(kFirstUplink + ":"))
          << each->ask("name " + file);
      EXPECT_EQ(each->ask("options " + file), "range 0 no_port 0 reuse 0");
      EXPECT_EQ(each->ask("echo " + file), "ok");
      each->ask("reset " + file);
    }
  }
}

std::string refusal_name(const testing::TestParamInfo<std::tuple<std::string, Refusal>>& info) {
  return std::string(std::get<0>(info.param) == "bind" ? "Bind" : "PortRange") +
         std::get<1>(info.param).error;
}

INSTANTIATE_TEST_SUITE_P(Strategy, SourceFailures,
                         testing::Combine(testing::Values(std::string("port-range"),
                                                          std::string("bind")),
                                          testing::ValuesIn(kRefusals)),
                         refusal_name);

class SourcesGone : public FailingSources, public testing::WithParamInterface<const char*> {
 protected:
  std::string strategy() const override { return GetParam(); }
};

TEST_P(SourcesGone, TheNextIsTakenAtOnce) {
  start_with_sources();
  Client client(poold->shim());
  EXPECT_EQ(sources_of(client, kConnects), all("10.5.0.1"));
  refuse("10.5.0.1", "unreachable");
  EXPECT_EQ(sources_of(client, kConnects), all("10.5.0.2"));
}

TEST_P(SourcesGone, BalanceUsesThoseThatWork) {
  refuse("10.5.0.2", "unreachable");
  start_with_sources("source_policy = \"balance\"\n");
  Client client(poold->shim());
  const std::vector<std::string> used = sources_of(client, kConnects);
  EXPECT_EQ(std::set<std::string>(used.begin(), used.end()),
            (std::set<std::string>{"10.5.0.1", "10.5.0.3"}));
}

// An address that the program chose is the program's: no other one takes its place.
TEST_P(SourcesGone, AddressesOfTheProgramsOwnChoiceStand) {
  start_with_sources();
  refuse("10.5.0.1", "unreachable");
  Client natively(native());
  Client client(poold->shim());
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(natively.connect(kFar, "10.5.0.1").error, "ENETUNREACH");
    EXPECT_EQ(client.connect(kFar, "10.5.0.1").error, "ENETUNREACH");
  }
  EXPECT_EQ(client.connect(kFar, "10.5.0.3").source(), "10.5.0.3");
}

TEST_P(SourcesGone, OneRemovedAtRunTime) {
  for (const std::string more : {"", "source_policy = \"balance\"\n"}) {
    SCOPED_TRACE(more);
    start_with_sources(more);
    Client client(poold->shim());
    EXPECT_EQ(by_the_pool(client, 40), 40U);
    ip("address del 10.5.0.1/32 dev lo");
    for (const std::string& source : sources_of(client, 400)) {
      // By the kernel's path at the worst.
      EXPECT_TRUE(kAllSources.contains(source) || source == kFirstUplink) << source;
      EXPECT_NE(source, "10.5.0.1");
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
    EXPECT_EQ(by_the_pool(client, 400), 400U) << poold->status();
    // It comes back, and is used in its turn.
    ip("address add 10.5.0.1/32 dev lo");
    EXPECT_TRUE(eventually([&] {
      const std::vector<std::string> used = sources_of(client, 40);
      return std::set<std::string>(used.begin(), used.end()).contains("10.5.0.1");
    })) << poold->status();
    poold.reset();
  }
}

TEST_P(SourcesGone, AllRemovedAtRunTime) {
  start_with_sources();
  Client client(poold->shim());
  EXPECT_EQ(by_the_pool(client, 40), 40U);
  for (const std::string& source : kAllSources) ip("address del " + source + "/32 dev lo");
  EXPECT_EQ(sources_of(client, 400), all(kFirstUplink, 400));
}

// Nothing reaches the destination any more: the kernel's error, and the socket goes elsewhere.
TEST_P(SourcesGone, TheKernelsErrorWhenNothingReaches) {
  start_with_sources();
  make_lane(kEcho);
  ip("route add unreachable " + kFarHost + "/32");
  Client natively(native());
  Client client(poold->shim());
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    for (Client* each : {&natively, &client}) {
      SCOPED_TRACE(each == &natively ? "natively" : "under the shim");
      const std::string file = each->ask("open");
      EXPECT_EQ(each->ask("try " + file + " " + kFar), "EHOSTUNREACH");
      EXPECT_EQ(each->ask("name " + file), "0.0.0.0:0");
      EXPECT_EQ(each->ask("options " + file), "range 0 no_port 0 reuse 0");
      EXPECT_EQ(each->ask("try " + file + " " + kEcho), "ok");
      EXPECT_EQ(each->ask("echo " + file), "ok");
      each->ask("reset " + file);
    }
  }
}

PORTPOOL_EACH_STRATEGY(SourcesGone);

}  // namespace
}  // namespace portpool::test
