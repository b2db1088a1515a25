// The filter is judged by the kernel that runs it: what passes must be what a look at the whole
// table finds.
#include "kernel/socket_filter.h"

#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "kernel/sock_diag.h"
#include "unit/kernel/private_namespace.h"
#include "unit/kernel/tcp_sockets.h"

namespace portpool::kernel {
namespace {

class SocketFilterTest : public PrivateNamespace {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(PrivateNamespace::SetUp());
    diag.emplace();
  }

  std::vector<SocketRecord> toward(const std::vector<Endpoint>& destinations,
                                   std::uint32_t states = kAllStates) {
    std::vector<SocketRecord> records;
    const DumpResult result =
        diag->dump({.states = states, .destinations = destinations},
                   [&](const SocketRecord& record) { records.push_back(record); });
    EXPECT_TRUE(result.complete) << result.error;
    return records;
  }

  std::optional<SockDiag> diag;
};

bool is_among(const Endpoint& remote, const std::vector<Endpoint>& destinations) {
  return std::find(destinations.begin(), destinations.end(), remote) != destinations.end();
}

TEST(SocketFilter, HasNoProgramForNothingAndForTooMuch) {
  EXPECT_TRUE(destination_filter({}).empty());
  std::vector<Endpoint> many(kMostFiltered, {address("127.0.0.1"), 0});
  for (std::size_t i = 0; i < many.size(); ++i) many[i].port = static_cast<std::uint16_t>(i + 1);
  EXPECT_FALSE(destination_filter(many).empty());
  many.push_back({address("127.0.0.1"), 60000});
  EXPECT_TRUE(destination_filter(many).empty());
}

TEST_F(SocketFilterTest, AV4DestinationStandsForMappedSocketsToo) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  TcpSocket other = listener(AF_INET, "127.0.0.2");
  const Connection plain = connection(server, AF_INET, server.local());
  const Connection mapped = connection(server, AF_INET6, server.local());
  const Connection elsewhere = connection(other, AF_INET6, other.local());
  const auto records = toward({server.local()});
  ASSERT_EQ(records.size(), 2U);
  EXPECT_NE(records[0].v6_socket, records[1].v6_socket);
  for (const SocketRecord& record : records) EXPECT_EQ(record.remote, server.local());
}

TEST_F(SocketFilterTest, AV6DestinationIsNotTakenForAV4One) {
  TcpSocket v4 = listener(AF_INET, "127.0.0.1");
  TcpSocket v6 = listener(AF_INET6, "::1");
  const Connection to_v4 = connection(v4, AF_INET6, v4.local());
  const Connection to_v6 = connection(v6, AF_INET6, v6.local());
  const auto only_v6 = toward({v6.local()});
  ASSERT_EQ(only_v6.size(), 1U);
  EXPECT_EQ(only_v6[0].remote, v6.local());
  EXPECT_EQ(toward({v4.local(), v6.local()}).size(), 2U);
  // ::7f00:1, whose last bytes are those of 127.0.0.1.
  EXPECT_TRUE(toward({{address("::7f00:1"), v4.local().port}}).empty());
}

TEST_F(SocketFilterTest, PassesTimeWaitAndOrphans) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  TcpSocket other = listener(AF_INET, "127.0.0.1");
  std::vector<Connection> pairs;
  for (TcpSocket* to : {&server, &other}) {
    pairs.push_back(connection(*to, AF_INET, to->local()));  // TIME_WAIT
    pairs.back().client.close();
    pairs.back().server.close();
    pairs.push_back(connection(*to, AF_INET, to->local()));  // FIN_WAIT2, an orphan
    pairs.back().client.close();
  }
  const std::uint32_t waiting = state_bit(TCP_TIME_WAIT) | state_bit(TCP_FIN_WAIT2);
  // The kernel ends a connection in softirq, in its own time.
  std::vector<SocketRecord> records;
  for (int turn = 0; turn < 1000 && records.size() != 2; ++turn) {
    if (turn > 0) ::poll(nullptr, 0, 10);
    records = toward({server.local(), {address("127.0.0.9"), 9}}, waiting);
  }
  ASSERT_EQ(records.size(), 2U);
  for (const SocketRecord& record : records) {
    EXPECT_EQ(record.remote, server.local());
    EXPECT_GE(record.timer_ms, 1U);
  }
}

TEST_F(SocketFilterTest, LeavesOutListenersAndBoundSockets) {
  const TcpSocket server = listener(AF_INET, "127.0.0.1");
  TcpSocket bound(AF_INET);
  bound.bind({address("127.0.0.1"), 0});
  EXPECT_TRUE(toward({server.local(), {address("0.0.0.0"), 0}, {address("::"), 0}}).empty());
}

// Sets of destinations, some with sockets and some without, that differ in the first bit and in the
// last, in the port alone, and in the family: what passes is what the whole table has of them.
TEST_F(SocketFilterTest, PassesExactlyTheDestinationsOfRandomSets) {
  std::mt19937 random(11);
  std::deque<TcpSocket> servers;
  std::vector<Connection> pairs;
  for (const char* on : {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.128.0.1", "127.255.255.254"}) {
    for (int i = 0; i < 6; ++i) {
      servers.push_back(listener(AF_INET, on));
      pairs.push_back(connection(servers.back(), AF_INET, servers.back().local()));
      pairs.push_back(connection(servers.back(), AF_INET6, servers.back().local()));
    }
  }
  for (int i = 0; i < 6; ++i) {
    servers.push_back(listener(AF_INET6, "::1"));
    pairs.push_back(connection(servers.back(), AF_INET6, servers.back().local()));
  }
  std::vector<SocketRecord> all;
  diag->dump({.states = state_bit(TCP_ESTABLISHED)},
             [&](const SocketRecord& record) { all.push_back(record); });
  ASSERT_EQ(all.size(), 2 * pairs.size());
  for (int turn = 0; turn < 300; ++turn) {
    std::vector<Endpoint> destinations;
    const std::size_t size = 1 + random() % (turn % 3 == 0 ? 3 : 80);
    while (destinations.size() < size) {
      Endpoint next = servers[random() % servers.size()].local();
      if (random() % 4 == 0) next.port = static_cast<std::uint16_t>(next.port + random() % 3);
      if (random() % 4 == 0) next.address.high ^= std::uint64_t{1} << random() % 64;
      if (random() % 4 == 0) next.address.low ^= std::uint64_t{1} << random() % 64;
      destinations.push_back(next);
    }
    std::size_t expected = 0;
    for (const SocketRecord& record : all) expected += is_among(record.remote, destinations);
    const auto passed = toward(destinations);
    EXPECT_EQ(passed.size(), expected) << "turn " << turn;
    for (const SocketRecord& record : passed) EXPECT_TRUE(is_among(record.remote, destinations));
  }
}

TEST_F(SocketFilterTest, ManyDestinationsAreOneRequest) {
  TcpSocket server = listener(AF_INET6, "::1");
  const Connection pair = connection(server, AF_INET6, server.local());
  std::mt19937_64 random(7);
  std::vector<Endpoint> destinations{server.local()};
  while (destinations.size() < kMostFiltered) {
    destinations.push_back({{random(), random()}, static_cast<std::uint16_t>(random())});
  }
  EXPECT_EQ(toward(destinations).size(), 1U);
}

TEST_F(SocketFilterTest, OfTooManyDestinationsThePortsAreLookedAt) {
  std::deque<TcpSocket> servers;
  std::vector<Connection> pairs;
  std::vector<Endpoint> destinations;
  for (int i = 0; i < 6; ++i) {
    servers.push_back(listener(i % 2 == 0 ? AF_INET : AF_INET6, i % 2 == 0 ? "127.0.0.1" : "::1"));
    pairs.push_back(connection(servers.back(), AF_INET6, servers.back().local()));
  }
  for (std::uint64_t i = 0; i <= kMostFiltered; ++i) {
    destinations.push_back({{i, 1}, servers[i % 4].local().port});
  }
  EXPECT_EQ(toward(destinations).size(), 4U);
  for (std::uint16_t port = 1; port <= kMostFiltered; ++port) {
    destinations.push_back({address("127.0.0.9"), port});
  }
  EXPECT_EQ(toward(destinations).size(), 2 * pairs.size());
}

}  // namespace
}  // namespace portpool::kernel
