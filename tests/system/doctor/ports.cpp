// The port range, what takes ports out of it, and who.
#include <list>

#include "support/temp_dir.h"
#include "system/doctor/common.h"

namespace portpool::test {
namespace {

class Range : public testing::Test {
 protected:
  PrivateNet net;
};

TEST_F(Range, DefaultIsFine) {
  net.set_port_range(32768, 60999);
  const Diagnosis d = diagnose();
  expect_check(d, "port-range", "ok", {"32768-60999", "28,232", "14,116"});
  expect_check(d, "reserved-ports", "ok");
  expect_check(d, "listeners", "ok");
  EXPECT_EQ(d.status, 0) << d.out;
}

TEST_F(Range, OddNumberOfPorts) {
  net.set_port_range(20000, 30000);
  const Diagnosis d = diagnose();
  expect_check(d, "port-range", "warn", {"10,001", "30000"});
  EXPECT_EQ(d.check("port-range").at("evidence").at("usable"), 10000);
  EXPECT_EQ(d.check("port-range").at("fix"),
            "sysctl -w net.ipv4.ip_local_port_range=\"20000 30001\"");
  EXPECT_EQ(d.status, 1);
}

// The last port of an odd range is really never chosen: what the check says holds on this kernel.
TEST_F(Range, KernelNeverTakesTheLastPortOfAnOddRange) {
  net.set_port_range(20000, 20002);
  const EchoServer server({9001});
  const Holder holder(SocketAddress(kServer), 3);
  EXPECT_EQ(holder.held(), 2U);
  EXPECT_EQ(holder.error(), EADDRNOTAVAIL);
  expect_check(diagnose(), "destinations", "fail", {kServer, "2 of 2", "EADDRNOTAVAIL"});
}

TEST_F(Range, Tiny) {
  net.set_port_range(20000, 20001);
  expect_check(diagnose(), "port-range", "warn", {"only 2 ports"});
}

TEST_F(Range, PrivilegedPorts) {
  net.set_sysctl("net.ipv4.ip_unprivileged_port_start", "500");
  net.set_port_range(1000, 65535);
  expect_check(diagnose(), "port-range", "warn", {"1000-65535", "privileged"});
}

TEST_F(Range, ReservedPorts) {
  net.set_port_range(20000, 29999);
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "20000-20099");
  expect_check(diagnose(), "reserved-ports", "ok", {"100", "10,000"});
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "20000-21999");
  expect_check(diagnose(), "reserved-ports", "warn", {"2,000", "10,000", "20.0 %"});
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "20000-25999");
  expect_check(diagnose(), "reserved-ports", "fail", {"6,000"});
  // What is to be pasted loses nothing that is in use: outside the range, or listened on.
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "8080,9090-9099,19999-25999");
  const int fd = tcp_socket(AF_INET);
  ASSERT_EQ(bind_error(fd, SocketAddress("127.0.0.1:25001")), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  const std::string fix = diagnose().check("reserved-ports").at("fix");
  EXPECT_TRUE(
      fix.ends_with("sysctl -w net.ipv4.ip_local_reserved_ports=\"8080,9090-9099,19999,25001\""))
      << fix;
}

TEST_F(Range, EverythingReserved) {
  net.set_port_range(20000, 29999);
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "20000-29999");
  expect_check(diagnose(), "destinations", "fail", {"20000-29999", "10,000 reserved"});
}

TEST_F(Range, PoolsOutsideIt) {
  net.set_port_range(20000, 29999);
  const TempDir directory;
  const std::string config =
      directory.write("poold.toml", "[[pool]]\nname = \"edge\"\nport_range = \"30000-39999\"\n");
  expect_check(diagnose({"--config", config}), "pool-ranges", "fail", {"edge", "30000-39999"});
  net.set_port_range(20000, 34999);
  expect_check(diagnose({"--config", config}), "pool-ranges", "warn", {"edge", "5,000"});
  net.set_port_range(20000, 39999);
  expect_check(diagnose({"--config", config}), "pool-ranges", "ok");
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "30000-39999");
  expect_check(diagnose({"--config", config}), "pool-ranges", "fail",
               {"10,000 of those are reserved"});
}

TEST_F(Range, SourcesThatAreAway) {
  const TempDir directory;
  const std::string config = directory.write(
      "poold.toml", "[[pool]]\nsources = [\"127.0.0.1\", \"10.5.0.1\", \"10.5.0.2\"]\n");
  expect_check(diagnose({"--config", config}), "pool-sources", "warn",
               {"2 sources", config + ":2:25: source 10.5.0.1 does not belong to this host"});
  net.add_address("10.5.0.1/32");
  expect_check(diagnose({"--config", config}), "pool-sources", "warn", {"1 source ", "10.5.0.2"});
  net.add_address("10.5.0.2/32");
  expect_check(diagnose({"--config", config}), "pool-sources", "ok");
}

TEST_F(Range, ServicesInsideIt) {
  net.set_port_range(20000, 29999);
  const int fd = tcp_socket(AF_INET);
  ASSERT_EQ(bind_error(fd, SocketAddress("127.0.0.1:25001")), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "20000-20002");
  const Diagnosis d = diagnose();
  expect_check(d, "listeners", "warn", {"1 listening port"});
  EXPECT_EQ(d.check("listeners").at("fix"),
            "sysctl -w net.ipv4.ip_local_reserved_ports=\"20000-20002,25001\"");
  EXPECT_EQ(d.check("listeners").at("evidence").at("listeners").at(0).at("port"), 25001);
  net.set_sysctl("net.ipv4.ip_local_reserved_ports", "20000-20002,25001");
  expect_check(diagnose(), "listeners", "ok");
}

TEST_F(ServedNet, BoundAndNeverConnected) {
  expect_check(diagnose(), "bound-sockets", "ok", {"none"});
  Process few = start_guest("hold_bound", native(), {"127.0.0.1", "20"});
  few.wait_for_output("held");
  expect_check(diagnose(), "bound-sockets", "ok", {"20 sockets", "2,200"});
  Process some = start_guest("hold_bound", native(), {"127.0.0.1", "200"});
  some.wait_for_output("held");
  expect_check(diagnose(), "bound-sockets", "warn",
               {"220 of 2,200", "(pid " + std::to_string(some.pid()) + ")"});
  Process many = start_guest("hold_bound", native(), {"127.0.0.1", "1000"});
  many.wait_for_output("held");
  const Diagnosis d = diagnose();
  expect_check(d, "bound-sockets", "fail",
               {"1,220 of 2,200", "(pid " + std::to_string(many.pid()) + ")"});
  const nlohmann::json evidence = d.check("bound-sockets").at("evidence");
  EXPECT_EQ(evidence.at("sockets"), 1220);
  EXPECT_EQ(evidence.at("processes").at(0).at("pid"), many.pid());
  EXPECT_EQ(evidence.at("processes").at(0).at("sockets"), 1000);
  EXPECT_EQ(d.check("port-range").at("evidence").at("usable"), 2200 - 1220);
  EXPECT_EQ(d.status, 2);
}

TEST_F(ServedNet, BoundBeforeConnecting) {
  Process plain = start_guest("hold_connections", native(), {kServer, "400"});
  plain.wait_for_output("held");
  expect_check(diagnose(), "early-binds", "ok");
  Process early =
      start_guest("hold_bound_connections", native(), {"127.0.0.1", kOtherServer, "400"});
  early.wait_for_output("held");
  Diagnosis d = diagnose();
  expect_check(d, "early-binds", "warn",
               {"127.0.0.1", "400 of them", "(pid " + std::to_string(early.pid()) + ")"});
  EXPECT_EQ(d.check("early-binds").at("evidence").at("sources").at(0).at("taken_last"), 400);
}

// Each destination has next to nothing, and all of them together have every port.
TEST_F(SmallNet, BoundBeforeConnectingToManyDestinations) {
  net.set_port_range(20000, 20199);
  std::vector<std::uint16_t> ports;
  for (std::uint16_t port = 9001; port <= 9010; ++port) ports.push_back(port);
  const EchoServer server(ports);
  std::list<Process> clients;
  const auto hold = [&](const std::string& destination, int count) {
    clients.emplace_back(
        guest_command("hold_bound_connections", {"127.0.0.1", destination, std::to_string(count)}),
        std::vector<std::string>{});
    clients.back().wait_for_output("held");
  };
  for (const std::uint16_t port : ports) hold("127.0.0.1:" + std::to_string(port), 14);
  expect_check(diagnose(), "early-binds", "warn", {"140 of 200", "10 destinations"});
  for (const std::uint16_t port : ports) hold("127.0.0.1:" + std::to_string(port), 6);
  const int fd = tcp_socket(AF_INET);
  EXPECT_EQ(bind_error(fd, SocketAddress("127.0.0.1:0")), EADDRINUSE);
  const Diagnosis d = diagnose();
  expect_check(d, "early-binds", "fail", {"200 of 200", "10 destinations", "EADDRINUSE", "(pid "});
  const std::string fix = d.check("early-binds").at("fix");
  EXPECT_NE(fix.find("Java and Erlang"), std::string::npos) << fix;
  EXPECT_FALSE(d.check("early-binds").at("evidence").at("destinations").empty());
  EXPECT_EQ(d.check("early-binds").at("evidence").at("ports"), 100);
  EXPECT_EQ(d.check("early-binds").at("evidence").at("sources").at(0).at("taken_last"), 100);
  EXPECT_EQ(d.status, 2);
}

// As many connections to as many destinations, by connect() alone: nothing to complain about.
TEST_F(SmallNet, ConnectedWithoutBindingToManyDestinations) {
  net.set_port_range(20000, 20199);
  std::vector<std::uint16_t> ports;
  for (std::uint16_t port = 9001; port <= 9010; ++port) ports.push_back(port);
  const EchoServer server(ports);
  std::list<Holder> holders;
  for (const std::uint16_t port : ports) {
    holders.emplace_back(SocketAddress("127.0.0.1:" + std::to_string(port)), 60);
  }
  expect_check(diagnose(), "early-binds", "ok");
}

}  // namespace
}  // namespace portpool::test
