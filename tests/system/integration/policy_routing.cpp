// Routing by more than the destination: the source address is the one that an unshimmed program
// gets.
#include <memory>

#include "support/far_side.h"
#include "system/integration/common.h"
#include "system/integration/routed_sockets.h"

namespace portpool::test {
namespace {

const std::string kFar = kFarHost + ":9001";
const std::string kFarV6 = kFarHostV6 + ":9001";
constexpr int kConnects = 6;

// DESTINATION OPTION WAY: connects with the option and says from which address.
GUEST(connect_with_option) {
  const SocketAddress destination(arguments.at(0));
  const std::string& option = arguments.at(1);
  const std::string& way = arguments.at(2);
  apply_to_process(option);
  for (int i = 0; i < kConnects; ++i) {
    const auto [fd, error] = connect_routed(destination, option, way);
    say(error_name(error) + " " + host_of(local_address(fd)));
    CHECK_THAT(error == 0);
    CHECK_THAT(echo_round_trip(fd));
    close_with_reset(fd);
  }
}

GuestResult always_from(const std::string& host) {
  GuestResult result;
  for (int i = 0; i < kConnects; ++i) result.out += "ok " + host + "\n";
  return result;
}

class PolicyRouting : public testing::Test {
 protected:
  PolicyRouting() {
    net.set_port_range(kLowPort, kHighPort);
    net.set_sysctl("net.ipv4.conf.all.rp_filter", "0");
    far = std::make_unique<FarSide>(std::vector<std::uint16_t>{9001});
  }

  // A daemon, and a lane toward each of `destinations` that programs without such options use.
  void start(const std::string& config, const std::vector<std::string>& destinations) {
    poold = std::make_unique<Poold>(config);
    poold->make_lanes(destinations);
    for (const std::string& destination : destinations) {
      EXPECT_TRUE(eventually([&] {
        const std::uint64_t before = pool_connects(poold->status());
        run_guest("connect_with_option", poold->shim(), {destination, "none=0", "plainly"});
        return pool_connects(poold->status()) - before == kConnects;
      })) << poold->status();
    }
  }

  // Natively from `host`, and so under the shim; again when poold may have made lanes for it.
  void expect_native(const std::string& host, const Arguments& arguments) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    EXPECT_EQ(run_guest("connect_with_option", native(), arguments), always_from(host))
        << "natively";
    for (int round = 0; round < 2; ++round) {
      EXPECT_EQ(run_guest("connect_with_option", poold->shim(), arguments), always_from(host))
          << "round " << round;
    }
    // Those without the option are not led astray.
    const bool v6 = arguments.at(0) == kFarV6;
    EXPECT_EQ(
        run_guest("connect_with_option", poold->shim(), {arguments.at(0), "none=0", "plainly"}),
        always_from(v6 ? kFirstUplinkV6 : plain_source));
  }

  PrivateNet net;
  std::unique_ptr<FarSide> far;
  std::unique_ptr<Poold> poold;
  std::string plain_source = kFirstUplink;
};

TEST_F(PolicyRouting, BoundToADevice) {
  start("", {kFar, kFarV6});
  expect_native(kSecondUplink, {kFar, "device=u2", "plainly"});
  expect_native(kSecondUplink, {kFar, "index=u2", "nonblocking"});
  expect_native(kSecondUplinkV6, {kFarV6, "device=u2", "plainly"});
}

TEST_F(PolicyRouting, BoundToADeviceUnseen) {
  start("", {kFar});
  expect_native(kSecondUplink, {kFar, "device=u2", "unseen"});
  expect_native(kSecondUplink, {kFar, "device=u2", "duplicate"});
}

TEST_F(PolicyRouting, Marked) {
  ip("rule add fwmark 7 lookup 100");
  ip("-6 rule add fwmark 7 lookup 100");
  start("", {kFar, kFarV6});
  expect_native(kSecondUplink, {kFar, "mark=7", "plainly"});
  expect_native(kSecondUplink, {kFar, "mark=7", "nonblocking"});
  expect_native(kSecondUplinkV6, {kFarV6, "mark=7", "plainly"});
}

TEST_F(PolicyRouting, MarkedUnseen) {
  ip("rule add fwmark 7 lookup 100");
  start("", {kFar});
  expect_native(kSecondUplink, {kFar, "mark=7", "unseen"});
  expect_native(kSecondUplink, {kFar, "mark=7", "duplicate"});
}

TEST_F(PolicyRouting, ByTypeOfService) {
  ip("rule add tos 0x10 lookup 100");
  start("", {kFar});
  expect_native(kSecondUplink, {kFar, "tos=16", "plainly"});
  expect_native(kSecondUplink, {kFar, "tos=16", "unseen"});
}

TEST_F(PolicyRouting, ByUser) {
  if (read_whole_file("/proc/self/uid_map").find("4294967295") == std::string::npos) {
    GTEST_SKIP() << "there is no other user here";
  }
  ip("rule add uidrange 1000-1000 lookup 100");
  start("", {kFar});
  expect_native(kSecondUplink, {kFar, "uid=1000", "plainly"});
  expect_native(kSecondUplink, {kFar, "uid=1000", "nonblocking"});
}

// A mark that leads to where only one uplink's address may go: the other is not tried.
TEST_F(PolicyRouting, MarkThatOnlyOneSourceMayUse) {
  ip("rule add fwmark 7 lookup 100");
  start("", {kFar});
  ip("rule add from 10.1.0.1 fwmark 7 prohibit pref 50");
  expect_native(kSecondUplink, {kFar, "mark=7", "plainly"});
}

class NamedSources : public PolicyRouting {
 protected:
  // A pool with sources, which sockets without a routing option of their own use.
  void start_with_sources() {
    net.add_address("10.5.0.1/32");
    net.add_address("10.5.0.2/32");
    start("[[pool]]\nname = \"test\"\nsources = [\"10.5.0.1\", \"10.5.0.2\"]\n", {kFar});
    plain_source = "10.5.0.1";
    EXPECT_EQ(run_guest("connect_with_option", poold->shim(), {kFar, "none=0", "plainly"}),
              always_from(plain_source));
  }
};

TEST_F(NamedSources, AreNotForSocketsBoundToADevice) {
  start_with_sources();
  expect_native(kSecondUplink, {kFar, "device=u2", "plainly"});
  expect_native(kSecondUplink, {kFar, "index=u2", "nonblocking"});
  expect_native(kFirstUplink, {kFar, "device=u1", "plainly"});
}

TEST_F(NamedSources, AreNotForMarkedSockets) {
  ip("rule add fwmark 7 lookup 100");
  start_with_sources();
  expect_native(kSecondUplink, {kFar, "mark=7", "plainly"});
  expect_native(kSecondUplink, {kFar, "mark=7", "nonblocking"});
  // No rule knows this one; whoever set it may filter or translate by it.
  expect_native(kFirstUplink, {kFar, "mark=8", "plainly"});
}

TEST_F(NamedSources, AreNotForSocketsWithOptionsUnseen) {
  ip("rule add fwmark 7 lookup 100");
  start_with_sources();
  expect_native(kSecondUplink, {kFar, "mark=7", "unseen"});
  expect_native(kSecondUplink, {kFar, "mark=7", "duplicate"});
  expect_native(kSecondUplink, {kFar, "device=u2", "duplicate"});
}

}  // namespace
}  // namespace portpool::test
