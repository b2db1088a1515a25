// What others on the host find: bind() to port 0, and services with fixed ports, when many
// destinations have many connections by the pool. The kernel's connect() leaves them one parity of
// the range until the other is used up; so does the pool.
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "support/sockets.h"
#include "system/lanes/lane_net.h"

namespace portpool::test {
namespace {

constexpr int kPortCount = 400;
constexpr int kDestinations = 40;
constexpr int kFirstDestination = 9200;

// fan FIRST COUNT EACH: EACH connections to each of COUNT ports of this host, from FIRST on. Says
// how many of their own ports were odd, and keeps all until it is told to end.
GUEST(fan) {
  const int first = std::stoi(arguments.at(0));
  const int each = std::stoi(arguments.at(2));
  int odd = 0;
  for (int port = first; port < first + std::stoi(arguments.at(1)); ++port) {
    for (int i = 0; i < each; ++i) {
      const int fd = connected_socket(SocketAddress("127.0.0.1:" + std::to_string(port)));
      CHECK_THAT(fd >= 0);
      odd += local_port(fd) % 2;
    }
  }
  say("odd " + std::to_string(odd));
  await_line();
}

std::vector<std::uint16_t> destinations() {
  std::vector<std::uint16_t> ports(kDestinations);
  std::iota(ports.begin(), ports.end(), static_cast<std::uint16_t>(kFirstDestination));
  return ports;
}

// Programs that bind before they connect, and one that listens on a port of the kernel's choice.
void expect_that_clients_find_ports() {
  Process server({"python3", "-u", "-m", "http.server", "8080", "--bind", "127.0.0.1"});
  EXPECT_TRUE(eventually([&] { return server.out().find("Serving HTTP") != std::string::npos; }))
      << server.err();
  const std::string url = "http://127.0.0.1:8080/";
  const std::string node =
      "const http = require('http');"
      "const s = http.createServer((q, r) => r.end('ok')).listen(0, '127.0.0.1', () =>"
      " http.get({host: '127.0.0.1', port: s.address().port, localAddress: '127.0.0.1'}, r => {"
      " r.resume(); r.on('end', () => { s.close(); console.log(r.statusCode); }); }));";
  const std::vector<std::vector<std::string>> programs = {
      {"wget", "--quiet", "--tries=1", "--bind-address=127.0.0.1", "--output-document=-", url},
      {"curl", "--silent", "--show-error", "--fail", "--interface", "127.0.0.1", url},
      {"node", "-e", node},
  };
  for (const std::vector<std::string>& command : programs) {
    Process program(command);
    EXPECT_EQ(program.wait(), 0) << command.front() << ": " << program.err();
  }
  server.signal(SIGTERM);
}

// How many of `wanted` services can begin to listen: on any port, or each on a fixed one.
int listeners_on_any_port(int wanted) {
  int listening = 0;
  for (int i = 0; i < wanted; ++i) {
    const int fd = tcp_socket(AF_INET);
    if (listen(fd, 1) == 0) ++listening;
    close(fd);
  }
  return listening;
}

int listeners_on_odd_ports(int low, int count) {
  int listening = 0;
  for (int port = low | 1; port < low + count; port += 2) {
    const int fd = tcp_socket(AF_INET);
    const SocketAddress address("127.0.0.1:" + std::to_string(port));
    if (bind_error(fd, address) == 0 && listen(fd, 1) == 0) ++listening;
    close(fd);
  }
  return listening;
}

std::string destination_text(int i) { return kHost + ":" + std::to_string(kFirstDestination + i); }

class Neighbours : public LaneNet {
 protected:
  EchoServer servers{destinations()};
  const Arguments fan{std::to_string(kFirstDestination), std::to_string(kDestinations), "100"};
};

// Once: 0 or 1 of 300 could listen, where the kernel's own choice leaves room for all.
TEST_F(Neighbours, FindPortsWhereManyDestinationsHaveMany) {
  start(kPortCount);
  std::vector<std::string> all;
  for (const std::uint16_t port : destinations()) all.push_back(kHost + ":" + std::to_string(port));
  poold->make_lanes(all);
  Process guest = start_guest("fan", poold->shim(), fan);
  guest.wait_for_output("odd ");
  EXPECT_EQ(guest.out(), "odd 0\n");
  EXPECT_GE(pool_connects(poold->status()), kDestinations * 99U);
  EXPECT_EQ(listeners_on_any_port(300), 300);
  EXPECT_EQ(listeners_on_odd_ports(kLow, kPortCount), kPortCount / 2);
  Process python({"python3", "-u", "-m", "http.server", "0"});
  EXPECT_TRUE(eventually([&] { return python.out().find("Serving HTTP") != std::string::npos; }))
      << python.err();
  expect_that_clients_find_ports();
  python.signal(SIGTERM);
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

// Three destinations of 2,000 connections each leave every service with an odd port its own.
TEST_F(Neighbours, ServicesOfTheDefaultRange) {
  constexpr int kDefaultLow = 32768;
  constexpr int kDefaultCount = 28232;
  net.set_port_range(kDefaultLow, kDefaultLow + kDefaultCount - 1);
  poold = std::make_unique<Poold>();
  poold->make_lanes({destination_text(0), destination_text(1), destination_text(2)});
  Process guest =
      start_guest("fan", poold->shim(), {std::to_string(kFirstDestination), "3", "2000"});
  guest.wait_for_output("odd ");
  EXPECT_EQ(guest.out(), "odd 0\n");
  EXPECT_EQ(listeners_on_odd_ports(kDefaultLow, kDefaultCount), kDefaultCount / 2);
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

// Natively the same: the promise is no better and no worse.
TEST_F(Neighbours, FindAsManyAsWithoutThePool) {
  start(kPortCount);
  Process guest = start_guest("fan", native(), fan);
  guest.wait_for_output("odd ");
  EXPECT_EQ(guest.out(), "odd 0\n");
  EXPECT_EQ(listeners_on_any_port(300), 300);
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

// The other parity is there for a destination whose first one is used up.
TEST_F(Neighbours, OneDestinationMayUseBothParities) {
  start(kPortCount);
  make_lane(kEcho);
  Process guest = start_guest("fan", poold->shim(), {"9001", "1", "300"});
  guest.wait_for_output("odd ");
  EXPECT_EQ(guest.out(), "odd 100\n");
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

// A range that begins with an odd port: the kernel's first parity is the odd one.
TEST_F(Neighbours, OddPortsComeFirstInARangeThatBeginsWithOne) {
  net.set_port_range(kLow + 1, kLow + kPortCount);
  poold = std::make_unique<Poold>();
  poold->make_lanes({kEcho});
  Process guest = start_guest("fan", poold->shim(), {"9001", "1", "150"});
  guest.wait_for_output("odd ");
  EXPECT_EQ(guest.out(), "odd 150\n");
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

// By bind() a port is lost to all others on the host, whatever their destination.
class NeighboursOfBoundPorts : public LaneNet {
 protected:
  static constexpr int kMany = 1000;
  static constexpr int kFar = 100;

  std::string strategy() const override { return "bind"; }
  static std::vector<std::uint16_t> far_ports() {
    std::vector<std::uint16_t> ports(kFar);
    std::iota(ports.begin(), ports.end(), static_cast<std::uint16_t>(kFirstDestination));
    return ports;
  }
  void start_with_lanes() {
    start(kMany);
    std::vector<std::string> all;
    for (const std::uint16_t port : far_ports()) all.push_back(kHost + ":" + std::to_string(port));
    poold->make_lanes(all);
  }
  // Programs outside the pool connect as always.
  void expect_that_others_connect() {
    Process python({"python3", "-u", "-m", "http.server", "8080", "--bind", kHost});
    EXPECT_TRUE(eventually([&] { return python.out().find("Serving HTTP") != std::string::npos; }))
        << python.err();
    for (int i = 0; i < 20; ++i) {
      Process curl({"curl", "--silent", "--show-error", "--fail", "http://127.0.0.1:8080/"});
      EXPECT_EQ(curl.wait(), 0) << curl.err();
    }
    python.signal(SIGTERM);
  }

  EchoServer far{far_ports()};
};

// Once: each destination bound ports of its own as long as there were any, until curl found none.
TEST_F(NeighboursOfBoundPorts, FindPortsSinceLanesShareTheirs) {
  start_with_lanes();
  Process guest = start_guest("fan", poold->shim(),
                              {std::to_string(kFirstDestination), std::to_string(kFar), "100"});
  guest.wait_for_output("odd ");
  const nlohmann::json status = poold->status();
  EXPECT_GE(pool_connects(status), kFar * 99U) << status;
  EXPECT_EQ(fallbacks(status, "half_bound"), 0U);
  EXPECT_EQ(listeners_on_any_port(300), 300);
  expect_that_others_connect();
  expect_that_clients_find_ports();
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

TEST_F(NeighboursOfBoundPorts, KeepHalfOfTheRangeWhateverIsNeeded) {
  start_with_lanes();
  Process guest =
      start_guest("fan", poold->shim(), {std::to_string(kFirstDestination), "1", "800"});
  guest.wait_for_output("odd ");
  const nlohmann::json status = poold->status();
  EXPECT_LE(lane_from(status, kHost, destination_text(0)).at("in_use").get<int>(), 800);
  EXPECT_GE(fallbacks(status, "half_bound"), 250U) << status;
  EXPECT_LE(pool_connects(status), kMany / 2 + 2U * kFar) << status;
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

// Nobody else is given a reserved port.
TEST_F(NeighboursOfBoundPorts, AReservedRangeIsThePools) {
  net.set_sysctl("net.ipv4.ip_local_reserved_ports",
                 std::to_string(kLow) + "-" + std::to_string(kLow + kMany - 101));
  start(kMany, "[[pool]]\nport_range = \"" + std::to_string(kLow) + "-" +
                   std::to_string(kLow + kMany - 101) + "\"\n");
  make_lane(destination_text(0));
  const nlohmann::json before = poold->status();
  Process guest =
      start_guest("fan", poold->shim(), {std::to_string(kFirstDestination), "1", "800"});
  guest.wait_for_output("odd ");
  const nlohmann::json status = poold->status();
  EXPECT_EQ(pool_connects(status) - pool_connects(before), 800U) << status;
  EXPECT_EQ(fallbacks(status, "half_bound"), 0U);
  guest.send_line("");
  EXPECT_EQ(guest.wait(), 0) << guest.err();
}

}  // namespace
}  // namespace portpool::test
