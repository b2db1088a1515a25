// Destinations that are rewritten inside connect(), as service addresses are by the socket load
// balancers of container networks, and such as are rewritten later.
#include <memory>
#include <vector>

#include "support/connect_hook.h"
#include "support/eventually.h"
#include "support/holder.h"
#include "system/integration/common.h"
#include "system/integration/routed_sockets.h"

namespace portpool::test {
namespace {

constexpr int kPorts = 8;
constexpr int kRound = 20;

struct Service {
  const char* name;
  ConnectHook::Names names;
  std::string way = "plainly";
  bool v6 = false;

  std::string address() const { return v6 ? "[fd00::77]:8080" : "127.0.0.77:8080"; }
  std::string host() const { return v6 ? "[::1]" : "127.0.0.1"; }
};
void PrintTo(const Service& service, std::ostream* stream) { *stream << service.name; }

std::string all_from(const std::string& host, int count) {
  return std::to_string(count) + " ok " + host + "\n";
}

std::uint64_t rejections(const nlohmann::json& status) {
  return status.at("rejections").get<std::uint64_t>();
}

// Some lane toward it is out of use for that.
bool is_rewritten(const nlohmann::json& status, const std::string& destination) {
  for (const nlohmann::json& lane : status.at("lanes")) {
    if (lane.at("destination") == destination && lane.at("rewritten")) return true;
  }
  return false;
}

class Rewritten : public testing::TestWithParam<Service> {
 protected:
  void SetUp() override {
    const std::string missing = ConnectHook::missing();
    if (!missing.empty()) GTEST_SKIP() << "no programs at cgroup/connect4 here: " << missing;
    net.set_port_range(kLowPort, kLowPort + kPorts - 1);
    net.add_address("fd00::77/128");
    server = std::make_unique<EchoServer>(std::vector<std::uint16_t>{9001, 9002, 8080});
    hook = std::make_unique<ConnectHook>(SocketAddress(service.address()),
                                         SocketAddress(service.host() + ":9001"), service.names);
    poold = std::make_unique<Poold>();
  }

  Arguments arguments() const { return {service.address(), "none=0", service.way, hook->group()}; }

  // A whole round on the kernel's path for that reason, without a single try.
  bool is_left_to_the_kernel(RoutedClient& client) {
    const nlohmann::json before = poold->status();
    EXPECT_EQ(client.connect(kRound), all_from(service.host(), kRound));
    const nlohmann::json after = poold->status();
    return fallbacks(after, "rewritten") - fallbacks(before, "rewritten") == kRound &&
           rejections(after) == rejections(before);
  }

  const Service& service = GetParam();
  PrivateNet net;
  std::unique_ptr<EchoServer> server;
  std::unique_ptr<ConnectHook> hook;
  std::unique_ptr<Poold> poold;
};

// The backends' ports are nearly used up, of which the lane of the service knows nothing.
TEST_P(Rewritten, IsFoundByRefusals) {
  std::vector<std::unique_ptr<Holder>> holders;
  for (const char* port : {":9001", ":9002"}) {
    holders.push_back(std::make_unique<Holder>(SocketAddress(service.host() + port), kPorts - 1));
    ASSERT_EQ(holders.back()->held(), static_cast<std::size_t>(kPorts - 1));
  }
  RoutedClient client(poold->shim(), arguments());
  EXPECT_TRUE(eventually([&] { return is_left_to_the_kernel(client); })) << poold->status();
  EXPECT_TRUE(is_rewritten(poold->status(), service.address())) << poold->status();
}

INSTANTIATE_TEST_SUITE_P(
    By, Rewritten,
    testing::Values(Service{"Shown", ConnectHook::Names::show},
                    Service{"ShownNonblocking", ConnectHook::Names::show, "nonblocking"},
                    Service{"ShownV6", ConnectHook::Names::show, "plainly", true},
                    Service{"Hidden", ConnectHook::Names::hide},
                    Service{"HiddenNonblocking", ConnectHook::Names::hide, "nonblocking"},
                    Service{"HiddenV6", ConnectHook::Names::hide, "plainly", true}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

class RewrittenPlainly : public Rewritten {};

// One call of some is looked at, also where no claim is refused; and people are told.
TEST_P(RewrittenPlainly, IsFoundInPassing) {
  RoutedClient client(poold->shim(), arguments());
  EXPECT_TRUE(eventually([&] { return is_left_to_the_kernel(client); })) << poold->status();
  const std::vector<std::string> place{"PORTPOOL_SOCKET=" + poold->socket()};
  Process status({poold_path(), "status"}, place);
  EXPECT_EQ(status.wait(), 0);
  EXPECT_NE(status.out().find("Rewritten on the way"), std::string::npos) << status.out();
  EXPECT_NE(status.out().find(service.address()), std::string::npos) << status.out();
  EXPECT_NE(status.out().find(" rewritten: the destination is rewritten"), std::string::npos)
      << status.out();
  Process doctor({poold_path(), "doctor", "--json"}, place);
  doctor.wait();
  bool told = false;
  const auto diagnosis = nlohmann::json::parse(doctor.out());
  for (const auto& check : diagnosis.at("checks")) {
    if (check.at("name") != "lane-table") continue;
    told = check.at("evidence").at("rewritten") == nlohmann::json::array({service.address()});
  }
  EXPECT_TRUE(told) << doctor.out();
  EXPECT_NE(poold->process().err().find("are rewritten on the way"), std::string::npos)
      << poold->process().err();
}

// Programs outside the control group meet the address as it is, and so a while later it has lanes.
TEST_P(RewrittenPlainly, IsTriedAgain) {
  RoutedClient client(poold->shim(), arguments());
  EXPECT_TRUE(eventually([&] { return is_left_to_the_kernel(client); })) << poold->status();
  RoutedClient plain(poold->shim(), {service.address(), "none=0", "plainly"});
  EXPECT_TRUE(eventually([&] {
    const std::uint64_t before = pool_connects(poold->status());
    EXPECT_EQ(plain.connect(kRound), all_from(service.host(), kRound));
    return pool_connects(poold->status()) - before == kRound;
  })) << poold->status();
}

// Everybody else's connects to other destinations go on by the pool.
TEST_P(RewrittenPlainly, OtherDestinationsAreServed) {
  RoutedClient client(poold->shim(), arguments());
  EXPECT_TRUE(eventually([&] { return is_left_to_the_kernel(client); })) << poold->status();
  const std::string other = service.host() + ":9001";
  poold->make_lanes({other});
  RoutedClient plain(poold->shim(), {other, "none=0", "plainly", hook->group()});
  EXPECT_TRUE(eventually([&] {
    const std::uint64_t before = pool_connects(poold->status());
    EXPECT_EQ(plain.connect(kRound), all_from(service.host(), kRound));
    return pool_connects(poold->status()) - before == kRound;
  })) << poold->status();
}

INSTANTIATE_TEST_SUITE_P(By, RewrittenPlainly,
                         testing::Values(Service{"Shown", ConnectHook::Names::show}),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

// What netfilter rewrites it does to packets: the socket keeps its 4-tuple, and its lane.
TEST(RewrittenLater, ByNetfilterKeepsItsLane) {
  PrivateNet net;
  net.set_port_range(kLowPort, kLowPort + kPorts - 1);
  const EchoServer server({9001});
  Process rules({"nft",
                 "add table ip nat; "
                 "add chain ip nat output { type nat hook output priority -100; }; "
                 "add rule ip nat output tcp dport 8080 redirect to :9001"});
  ASSERT_EQ(rules.wait(), 0) << rules.err();
  const std::string service = "127.0.0.1:8080";
  const Poold poold;
  poold.make_lanes({service});
  const Holder holder(SocketAddress(service), kPorts - 1);
  ASSERT_EQ(holder.held(), static_cast<std::size_t>(kPorts - 1));
  RoutedClient client(poold.shim(), {service, "none=0", "plainly"});
  // Some of them are looked at.
  EXPECT_EQ(client.connect(300), all_from("127.0.0.1", 300));
  EXPECT_TRUE(poold.eventually_status([&](const nlohmann::json& status) {
    return lane_of(status, service).at("in_use") == kPorts - 1;
  })) << poold.status();
  const std::uint64_t before = pool_connects(poold.status());
  EXPECT_EQ(client.connect(300), all_from("127.0.0.1", 300));
  const nlohmann::json after = poold.status();
  EXPECT_EQ(pool_connects(after) - before, 300U) << after;
  EXPECT_FALSE(is_rewritten(after, service)) << after;
  EXPECT_EQ(fallbacks(after, "rewritten"), 0U) << after;
}

}  // namespace
}  // namespace portpool::test
