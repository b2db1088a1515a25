#include "kernel/proc_net.h"

#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>

#include "base/descriptor.h"
#include "unit/kernel/private_namespace.h"

namespace portpool::kernel {
namespace {

using ProcNetTest = PrivateNamespace;

TEST(SocketStatistics, ReadsBothFamilies) {
  const auto found = parse_socket_statistics(
      "sockets: used 14\nTCP: inuse 10 orphan 3 tw 22 alloc 17 mem 200\nUDP: inuse 5 mem 0\n",
      "TCP6: inuse 7\nUDP6: inuse 1\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->in_use, 17);
  EXPECT_EQ(found->orphans, 3);
  EXPECT_EQ(found->time_wait, 22);
  EXPECT_EQ(found->allocated, 17);
}

TEST(SocketStatistics, NothingIsGuessed) {
  EXPECT_FALSE(parse_socket_statistics("", ""));
  EXPECT_FALSE(parse_socket_statistics("TCP: inuse 10 orphan 3 tw 22\n", ""));
  EXPECT_FALSE(parse_socket_statistics("TCP: inuse x orphan 3 tw 22 alloc 1 mem 1\n", ""));
  EXPECT_TRUE(parse_socket_statistics("TCP: inuse 1 orphan 3 tw 22 alloc 1 mem 1\n", ""));
}

TEST(Netstat, FindsCountersByName) {
  const auto found = parse_netstat(
      "TcpExt: A TCPTimeWaitOverflow B\nTcpExt: 1 12345678901 3\nIpExt: A\nIpExt: 9\n");
  EXPECT_EQ(found.at("A"), 1U);
  EXPECT_EQ(found.at("TCPTimeWaitOverflow"), 12345678901U);
  EXPECT_EQ(found.size(), 3U);
  EXPECT_TRUE(parse_netstat("").empty());
  EXPECT_EQ(parse_netstat("TcpExt: A B\nTcpExt: 1\n").size(), 1U);
}

TEST(ConntrackColumn, SumsCpus) {
  const char* text =
      "entries  clashres found drop early_drop  expect_new\n"
      "00000002  00000000 00000000 0000000a 00000000  00000000\n"
      "00000002  00000000 00000000 00000010 00000000  00000000\n";
  EXPECT_EQ(parse_conntrack_column(text, "drop"), 26U);
  EXPECT_EQ(parse_conntrack_column(text, "entries"), 4U);
  EXPECT_FALSE(parse_conntrack_column(text, "insert_failed"));
  EXPECT_FALSE(parse_conntrack_column("", "drop"));
}

TEST_F(ProcNetTest, NewNamespaceHasNothing) {
  const auto found = socket_statistics();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->in_use, 0);
  EXPECT_EQ(found->time_wait, 0);
  const Descriptor socket(::socket(AF_INET6, SOCK_STREAM, 0));
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  EXPECT_EQ(socket_statistics()->in_use, 1);
  EXPECT_TRUE(netstat_counters().contains("TCPTimeWaitOverflow"));
}

}  // namespace
}  // namespace portpool::kernel
