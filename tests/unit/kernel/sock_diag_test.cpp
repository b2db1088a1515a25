#include "kernel/sock_diag.h"

#include <netinet/tcp.h>
#include <poll.h>

#include <functional>
#include <stdexcept>
#include <vector>

#include "unit/kernel/private_namespace.h"
#include "unit/kernel/tcp_sockets.h"

namespace portpool::kernel {
namespace {

class SockDiagTest : public PrivateNamespace {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(PrivateNamespace::SetUp());
    diag.emplace();
  }

  std::vector<SocketRecord> dump(const DumpFilter& filter = {}) {
    std::vector<SocketRecord> records;
    const DumpResult result =
        diag->dump(filter, [&](const SocketRecord& record) { records.push_back(record); });
    EXPECT_TRUE(result.complete);
    EXPECT_EQ(result.error, 0);
    EXPECT_EQ(result.records, records.size());
    return records;
  }

  // How many records of the dump have this local endpoint and state.
  std::size_t count(const Endpoint& local, unsigned state, const DumpFilter& filter = {}) {
    std::size_t found = 0;
    for (const SocketRecord& record : dump(filter)) {
      if (record.local == local && record.state == state) ++found;
    }
    return found;
  }

  // The kernel ends a connection in softirq, in its own time.
  std::optional<SocketRecord> await_state(const Endpoint& local, const Endpoint& remote,
                                          unsigned state) {
    for (int turn = 0; turn < 1000; ++turn) {
      const auto record = diag->find(local, remote);
      if (record && record->state == state) return record;
      ::poll(nullptr, 0, 10);
    }
    return std::nullopt;
  }

  std::optional<SockDiag> diag;
};

TEST_F(SockDiagTest, ShowsAnEstablishedV4ConnectionFromBothEnds) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  const Connection pair = connection(server, AF_INET, server.local());
  const auto records = dump({.states = state_bit(TCP_ESTABLISHED)});
  ASSERT_EQ(records.size(), 2U);
  for (const SocketRecord& record : records) {
    const bool client = record.local == pair.client.local();
    EXPECT_EQ(record.local, client ? pair.client.local() : pair.server.local());
    EXPECT_EQ(record.remote, client ? pair.client.remote() : pair.server.remote());
    EXPECT_EQ(record.state, TCP_ESTABLISHED);
    EXPECT_FALSE(record.v6_socket);
    EXPECT_NE(record.inode, 0U);
    EXPECT_EQ(record.uid, ::getuid());
    EXPECT_EQ(record.timer_ms, 0U);
  }
}

TEST_F(SockDiagTest, ShowsAnEstablishedV6Connection) {
  TcpSocket server = listener(AF_INET6, "::1");
  const Connection pair = connection(server, AF_INET6, server.local());
  const auto record = diag->find(pair.client.local(), pair.client.remote());
  ASSERT_TRUE(record);
  EXPECT_TRUE(record->v6_socket);
  EXPECT_FALSE(is_v4(record->local.address));
  EXPECT_EQ(count(pair.client.local(), TCP_ESTABLISHED), 1U);
}

TEST_F(SockDiagTest, ShowsAMappedConnectionUnderItsV4Addresses) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  const Connection pair = connection(server, AF_INET6, server.local());
  ASSERT_TRUE(is_v4(pair.client.local().address));
  EXPECT_EQ(count(pair.client.local(), TCP_ESTABLISHED), 1U);
  const auto record = diag->find(pair.client.local(), server.local());
  ASSERT_TRUE(record);
  EXPECT_TRUE(record->v6_socket);
}

TEST_F(SockDiagTest, FamiliesAreSelectedBySocketNotByAddress) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  const Connection plain = connection(server, AF_INET, server.local());
  const Connection mapped = connection(server, AF_INET6, server.local());
  const DumpFilter only_v4{.v6 = false};
  const DumpFilter only_v6{.v4 = false};
  EXPECT_EQ(count(plain.client.local(), TCP_ESTABLISHED, only_v4), 1U);
  EXPECT_EQ(count(mapped.client.local(), TCP_ESTABLISHED, only_v4), 0U);
  EXPECT_EQ(count(plain.client.local(), TCP_ESTABLISHED, only_v6), 0U);
  EXPECT_EQ(count(mapped.client.local(), TCP_ESTABLISHED, only_v6), 1U);
  EXPECT_TRUE(dump({.v4 = false, .v6 = false}).empty());
}

TEST_F(SockDiagTest, TimeWaitCarriesTheTimeLeft) {
  for (const int family : {AF_INET, AF_INET6}) {
    TcpSocket server = listener(family, family == AF_INET ? "127.0.0.1" : "::1");
    Connection pair = connection(server, family, server.local());
    const Endpoint local = pair.client.local();
    pair.client.close();
    pair.server.close();
    const auto found = await_state(local, server.local(), TCP_TIME_WAIT);
    ASSERT_TRUE(found);
    EXPECT_GE(found->timer_ms, 1U);
    EXPECT_LE(found->timer_ms, 60'000U);
    EXPECT_EQ(found->v6_socket, family == AF_INET6);
    const auto listed = dump(
        {.states = state_bit(TCP_TIME_WAIT), .v4 = family == AF_INET, .v6 = family == AF_INET6});
    ASSERT_EQ(listed.size(), 1U);
    EXPECT_EQ(listed[0].local, local);
    EXPECT_EQ(listed[0].remote, server.local());
    EXPECT_GE(listed[0].timer_ms, 1U);
    EXPECT_LE(listed[0].timer_ms, 60'000U);
  }
}

TEST_F(SockDiagTest, AnOrphanInFinWait2HasATimerAndNoInode) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  Connection pair = connection(server, AF_INET, server.local());
  const Endpoint local = pair.client.local();
  pair.client.close();
  const auto found = await_state(local, server.local(), TCP_FIN_WAIT2);
  ASSERT_TRUE(found);
  EXPECT_GE(found->timer_ms, 1U);
  EXPECT_LE(found->timer_ms, 60'000U);
  EXPECT_EQ(found->inode, 0U);
  EXPECT_EQ(count(local, TCP_FIN_WAIT2, {.states = state_bit(TCP_FIN_WAIT2)}), 1U);
  EXPECT_EQ(count(local, TCP_FIN_WAIT2, {.states = state_bit(TCP_TIME_WAIT)}), 0U);
}

TEST_F(SockDiagTest, DestinationPortExcludesAllOthers) {
  TcpSocket one = listener(AF_INET, "127.0.0.1");
  TcpSocket other = listener(AF_INET, "127.0.0.1");
  TcpSocket bound(AF_INET);
  bound.bind({address("127.0.0.1"), 0});
  const Connection wanted = connection(one, AF_INET, one.local());
  const Connection mapped = connection(one, AF_INET6, one.local());
  const Connection unwanted = connection(other, AF_INET, other.local());
  for (const SocketRecord& record : dump({.destination_port = one.local().port})) {
    EXPECT_EQ(record.remote.port, one.local().port);
  }
  EXPECT_EQ(dump({.destination_port = one.local().port}).size(), 2U);
  EXPECT_EQ(dump({.destination_port = one.local().port, .v6 = false}).size(), 1U);
}

TEST_F(SockDiagTest, SourcePortExcludesAllOthers) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  const Connection pair = connection(server, AF_INET, server.local());
  const Connection other = connection(server, AF_INET, server.local());
  const auto records = dump({.source_port = pair.client.local().port});
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].local, pair.client.local());
}

TEST_F(SockDiagTest, ShowsListeners) {
  const TcpSocket v4 = listener(AF_INET, "0.0.0.0");
  const TcpSocket v6 = listener(AF_INET6, "::");
  const DumpFilter listening{.states = state_bit(TCP_LISTEN)};
  EXPECT_EQ(count(v4.local(), TCP_LISTEN, listening), 1U);
  EXPECT_EQ(count(v6.local(), TCP_LISTEN, listening), 1U);
  EXPECT_EQ(dump(listening).size(), 2U);
  EXPECT_EQ(dump({.states = kAllStates & ~state_bit(TCP_LISTEN)}).size(), 0U);
}

TEST_F(SockDiagTest, ShowsBoundSocketsWhereTheCanaryIsSeen) {
  if (!diag->lists_bound_inactive()) GTEST_SKIP() << "this kernel does not list bound sockets";
  TcpSocket v4(AF_INET);
  v4.bind({address("127.0.0.1"), 0});
  TcpSocket v6(AF_INET6);
  v6.bind({address("::1"), 0});
  const DumpFilter inactive{.states = state_bit(kTcpBoundInactive)};
  EXPECT_EQ(count(v4.local(), kTcpBoundInactive, inactive), 1U);
  EXPECT_EQ(count(v6.local(), kTcpBoundInactive, inactive), 1U);
  EXPECT_EQ(dump(inactive).size(), 2U) << "the canary must be gone";
  EXPECT_EQ(count(v4.local(), kTcpBoundInactive), 1U);
}

TEST_F(SockDiagTest, TheCanaryNeedsNeitherLoopbackNorAFreePortOn127001) {
  if (!diag->lists_bound_inactive()) GTEST_SKIP() << "this kernel does not list bound sockets";
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/ip_local_port_range", "40000 40001"));
  TcpSocket even(AF_INET);
  even.bind({address("127.0.0.1"), 40000});
  TcpSocket odd(AF_INET);
  odd.bind({address("127.0.0.1"), 40001});
  EXPECT_TRUE(diag->lists_bound_inactive());
  even.close();
  odd.close();
  ASSERT_NO_FATAL_FAILURE(set_loopback(false));
  EXPECT_TRUE(diag->lists_bound_inactive());
}

TEST_F(SockDiagTest, BoundSocketsThatTakeEveryPortAreSeenWithoutACanary) {
  if (!diag->lists_bound_inactive()) GTEST_SKIP() << "this kernel does not list bound sockets";
  ASSERT_NO_FATAL_FAILURE(set_sysctl("net/ipv4/ip_local_port_range", "40000 40001"));
  TcpSocket even(AF_INET);
  even.bind({address("0.0.0.0"), 40000});
  TcpSocket odd(AF_INET);
  odd.bind({address("0.0.0.0"), 40001});
  EXPECT_TRUE(diag->lists_bound_inactive());
}

TEST_F(SockDiagTest, FindMatchesTheWholeTuple) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  const Connection pair = connection(server, AF_INET, server.local());
  const Endpoint local = pair.client.local();
  const Endpoint remote = server.local();
  const auto hit = diag->find(local, remote);
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->local, local);
  EXPECT_EQ(hit->remote, remote);
  EXPECT_EQ(hit->state, TCP_ESTABLISHED);
  const auto next = static_cast<std::uint16_t>(local.port + 1);
  EXPECT_FALSE(diag->find({local.address, next}, remote));
  EXPECT_FALSE(diag->find({address("127.0.0.2"), local.port}, remote));
  EXPECT_FALSE(diag->find(local, {address("127.0.0.2"), remote.port}));
  EXPECT_FALSE(diag->find(local, {address("::1"), remote.port}));
}

TEST_F(SockDiagTest, FindDoesNotTakeAListenerForAConnection) {
  const TcpSocket server = listener(AF_INET, "127.0.0.1");
  EXPECT_FALSE(diag->find(server.local(), {address("127.0.0.1"), 1}));
}

TEST_F(SockDiagTest, AnAbandonedDumpDoesNotSpoilTheNextRequest) {
  TcpSocket server = listener(AF_INET, "127.0.0.1");
  std::vector<Connection> pairs;
  // More than two of the kernel's messages (32 KiB), fewer than 1024 descriptors.
  for (int i = 0; i < 480; ++i) pairs.push_back(connection(server, AF_INET, server.local()));
  auto give_up = [](const SocketRecord&) { throw std::runtime_error("enough"); };
  EXPECT_THROW(diag->dump({}, give_up), std::runtime_error);
  EXPECT_TRUE(diag->find(pairs[0].client.local(), server.local()));
  EXPECT_THROW(diag->dump({}, give_up), std::runtime_error);
  EXPECT_EQ(dump({.states = state_bit(TCP_ESTABLISHED)}).size(), 960U);
}

TEST_F(SockDiagTest, StaysInTheNamespaceItWasMadeIn) {
  const TcpSocket server = listener(AF_INET, "127.0.0.1");
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  EXPECT_EQ(count(server.local(), TCP_LISTEN), 1U);
  SockDiag elsewhere;
  const DumpResult result = elsewhere.dump({}, [](const SocketRecord&) {});
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.records, 0U);
}

}  // namespace
}  // namespace portpool::kernel
