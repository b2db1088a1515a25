// Sockets that leave from another address than poold's route says: their lanes are those of that
// address, and what poold knows of its own route says nothing about them.
#include <memory>
#include <vector>

#include "support/eventually.h"
#include "support/far_side.h"
#include "system/integration/common.h"
#include "system/integration/routed_sockets.h"

namespace portpool::test {
namespace {

const std::string kFar = kFarHost + ":9001";
const std::string kFarV6 = kFarHostV6 + ":9001";
constexpr int kPorts = 8;
constexpr int kRound = 20;

// DESTINATION OPTION COUNT: keeps so many connections with the option.
GUEST(keep_routed) {
  const SocketAddress destination(arguments.at(0));
  apply_to_process(arguments.at(1));
  for (int left = std::stoi(arguments.at(2)); left > 0; --left) {
    CHECK_THAT(connect_routed(destination, arguments.at(1), "plainly").error == 0);
  }
  say("kept");
  await_line();
}

bool has_other_users() {
  return read_whole_file("/proc/self/uid_map").find("4294967295") != std::string::npos;
}

std::string all_from(const std::string& host, int count) {
  return std::to_string(count) + " ok " + host + "\n";
}

std::uint64_t rejections(const nlohmann::json& status) {
  return status.at("rejections").get<std::uint64_t>();
}

// What leads to the second uplink here: rules, and the way a program comes under them.
struct OwnWay {
  const char* name;
  std::string option;
  std::string way = "plainly";
  bool v6 = false;

  std::string destination() const { return v6 ? kFarV6 : kFar; }
  std::string first() const { return v6 ? kFirstUplinkV6 : kFirstUplink; }
  std::string second() const { return v6 ? kSecondUplinkV6 : kSecondUplink; }
};
void PrintTo(const OwnWay& way, std::ostream* stream) { *stream << way.name; }

class OwnRoute : public testing::TestWithParam<OwnWay> {
 protected:
  void SetUp() override {
    if (GetParam().option.starts_with("uid=") && !has_other_users()) {
      GTEST_SKIP() << "there is no other user here";
    }
    net.set_port_range(kLowPort, kLowPort + kPorts - 1);
    net.set_sysctl("net.ipv4.conf.all.rp_filter", "0");
    far = std::make_unique<FarSide>(std::vector<std::uint16_t>{9001});
    for (const std::string family : {"", "-6 "}) {
      ip(family + "rule add fwmark 7 lookup 100");
      ip(family + "rule add uidrange 1000-1000 lookup 100");
    }
    ip("rule add tos 0x10 lookup 100");
  }

  void start(const std::string& config) {
    poold = std::make_unique<Poold>(config);
    poold->make_lanes({GetParam().destination()});
  }

  // By a program without the shim.
  void keep(const std::string& option, int count) {
    keepers.push_back(std::make_unique<Process>(
        guest_command("keep_routed", {GetParam().destination(), option, std::to_string(count)})));
    keepers.back()->wait_for_output("kept");
  }

  // A whole round from the second uplink, by the pool, in which it was not once wrong.
  bool is_served(RoutedClient& client) {
    const nlohmann::json before = poold->status();
    EXPECT_EQ(client.connect(kRound), all_from(GetParam().second(), kRound));
    const nlohmann::json after = poold->status();
    return pool_connects(after) - pool_connects(before) == kRound &&
           rejections(after) == rejections(before);
  }

  // Over its port toward the destination.
  bool lane_is_seen(const std::string& source, int in_use) const {
    return poold->eventually_status([&](const nlohmann::json& status) {
      for (const nlohmann::json& lane : status.at("lanes")) {
        if ("[" + lane.at("source").get<std::string>() + "]" == source ||
            lane.at("source") == source) {
          return lane.at("in_use") == in_use;
        }
      }
      return false;
    });
  }

  Arguments arguments() const {
    return {GetParam().destination(), GetParam().option, GetParam().way};
  }

  PrivateNet net;
  std::unique_ptr<FarSide> far;
  std::unique_ptr<Poold> poold;
  std::vector<std::unique_ptr<Process>> keepers;
};

// The lane that they use knows which ports are taken toward there: no claim is refused, with one
// port left of eight.
TEST_P(OwnRoute, HasLanesOfTheAddressThatItHas) {
  const OwnWay& way = GetParam();
  start("");
  keep(way.option, kPorts - 1);
  RoutedClient client(poold->shim(), arguments());
  EXPECT_TRUE(eventually([&] { return is_served(client); })) << poold->status();
  EXPECT_TRUE(lane_is_seen(way.second(), kPorts - 1)) << poold->status();
  // Those without the option are where they were.
  RoutedClient plain(poold->shim(), {way.destination(), "none=0", "plainly"});
  EXPECT_EQ(plain.connect(kRound), all_from(way.first(), kRound));
}

// Every port toward there is in use, from poold's own address.
TEST_P(OwnRoute, IsNotRefusedForAnotherAddress) {
  const OwnWay& way = GetParam();
  start("[[pool]]\nname = \"test\"\non_exhaustion = \"fail-fast\"\n");
  keep("none=0", kPorts);
  RoutedClient plain(poold->shim(), {way.destination(), "none=0", "plainly"});
  const auto fails_fast = [&] {
    EXPECT_EQ(plain.connect(kRound), std::to_string(kRound) + " EADDRNOTAVAIL\n");
    return poold->status().at("counters").at("failed_fast") > 0;
  };
  ASSERT_TRUE(eventually(fails_fast)) << poold->status();
  // Others go on trying, so that hardly a call of ours is the one that asks the kernel all the
  // same.
  RoutedClient others(poold->shim(), {way.destination(), "none=0", "plainly"});
  others.begin(1'000'000'000);
  RoutedClient client(poold->shim(), arguments());
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(client.connect(kRound), all_from(way.second(), kRound)) << poold->status();
  }
  EXPECT_EQ(plain.connect(kRound), std::to_string(kRound) + " EADDRNOTAVAIL\n");
}

class OwnOption : public OwnRoute {};

// The sources that a pool names are not for sockets with mark or device.
TEST_P(OwnOption, HasItsLanesWhereThePoolNamesSources) {
  const OwnWay& way = GetParam();
  net.add_address("10.5.0.1/32");
  net.add_address("fd00:5::1/128");
  start("[[pool]]\nname = \"test\"\nsources = [\"10.5.0.1\", \"fd00:5::1\"]\n");
  RoutedClient client(poold->shim(), arguments());
  EXPECT_TRUE(eventually([&] { return is_served(client); })) << poold->status();
  EXPECT_EQ(fallbacks(poold->status(), "own_route"), 0U);
  RoutedClient plain(poold->shim(), {way.destination(), "none=0", "plainly"});
  EXPECT_EQ(plain.connect(kRound), all_from(way.v6 ? "[fd00:5::1]" : "10.5.0.1", kRound));
}

const auto kByOption = testing::Values(
    OwnWay{"Marked", "mark=7"}, OwnWay{"MarkedNonblocking", "mark=7", "nonblocking"},
    OwnWay{"MarkedUnseen", "mark=7", "unseen"}, OwnWay{"MarkedV6", "mark=7", "plainly", true},
    OwnWay{"Device", "device=u2"}, OwnWay{"DeviceUnseen", "device=u2", "duplicate"},
    OwnWay{"DeviceV6", "device=u2", "nonblocking", true}, OwnWay{"Index", "index=u2"});
const auto kByRule = testing::Values(OwnWay{"TypeOfService", "tos=16"}, OwnWay{"User", "uid=1000"},
                                     OwnWay{"UserNonblocking", "uid=1000", "nonblocking"},
                                     OwnWay{"UserV6", "uid=1000", "plainly", true});
const auto name_of = [](const testing::TestParamInfo<OwnWay>& parameter) {
  return std::string(parameter.param.name);
};
INSTANTIATE_TEST_SUITE_P(Option, OwnRoute, kByOption, name_of);
INSTANTIATE_TEST_SUITE_P(Rule, OwnRoute, kByRule, name_of);
INSTANTIATE_TEST_SUITE_P(Option, OwnOption, kByOption, name_of);

class OneRoute : public OwnRoute {};

// IP_UNICAST_IF, which says nothing about TCP: the first uplink it is, and that is full.
TEST_P(OneRoute, UnicastInterfaceIsNoRouteOfTcp) {
  start("[[pool]]\nname = \"test\"\non_exhaustion = \"fail-fast\"\n");
  keep("none=0", kPorts - 1);
  RoutedClient client(poold->shim(), {kFar, "unicast=u2", "plainly"});
  EXPECT_EQ(client.connect(kRound), all_from(kFirstUplink, kRound));
  keep("none=0", 1);
  EXPECT_EQ(client.connect(kRound), std::to_string(kRound) + " EADDRNOTAVAIL\n");
}

// The question that the library asks has another protocol, and so another answer.
TEST_P(OneRoute, RulesByProtocolAreFoundOut) {
  start("[[pool]]\nname = \"test\"\non_exhaustion = \"fail-fast\"\n");
  keep("none=0", kPorts);
  ip("rule add ipproto tcp lookup 100");
  RoutedClient client(poold->shim(), {kFar, "none=0", "plainly"});
  // It stays so. (The first round may be right before there is a lane to be wrong about.)
  int right = 0;
  EXPECT_TRUE(eventually([&] {
    right = client.connect(kRound) == all_from(kSecondUplink, kRound) ? right + 1 : 0;
    return right == 10;
  })) << poold->status();
}

// An IPv6 socket that connects to an IPv4 address.
TEST_P(OneRoute, MappedAddresses) {
  start("");
  keep("mark=7", kPorts - 1);
  RoutedClient client(poold->shim(), {"[::ffff:" + kFarHost + "]:9001", "mark=7", "plainly"});
  EXPECT_TRUE(eventually([&] {
    const nlohmann::json before = poold->status();
    EXPECT_EQ(client.connect(kRound), all_from("[::ffff:" + kSecondUplink + "]", kRound));
    const nlohmann::json after = poold->status();
    return pool_connects(after) - pool_connects(before) == kRound &&
           rejections(after) == rejections(before);
  })) << poold->status();
}

// The kernel goes by the user who made the socket, who is another one by now.
TEST_P(OneRoute, SocketsOfTheUserOfBefore) {
  if (!has_other_users()) GTEST_SKIP() << "there is no other user here";
  ip("rule del uidrange 1000-1000 lookup 100");
  ip("rule add uidrange 0-0 lookup 100");
  ip("rule add uidrange 1000-1000 lookup main");
  start("[[pool]]\nname = \"test\"\non_exhaustion = \"fail-fast\"\n");
  RoutedClient dropped(poold->shim(), {kFar, "none=0", "dropped"});
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(dropped.connect(kRound), all_from(kSecondUplink, kRound)) << poold->status();
  }
  // By poold's route, which is root's, nothing is left; by that of user 1000 all is.
  keep("none=0", kPorts);
  RoutedClient client(poold->shim(), {kFar, "uid=1000", "plainly"});
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(client.connect(kRound), all_from(kFirstUplink, kRound)) << poold->status();
  }
}

INSTANTIATE_TEST_SUITE_P(Plain, OneRoute, testing::Values(OwnWay{"Plain", "none=0"}), name_of);

}  // namespace
}  // namespace portpool::test
