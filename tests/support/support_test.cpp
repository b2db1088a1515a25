// The support library itself, without the shim: a test that is wrong here would mislead everywhere.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

#include "base/descriptor.h"
#include "support/echo_server.h"
#include "support/guest.h"
#include "support/holder.h"
#include "support/private_net.h"
#include "support/sockets.h"

namespace portpool::test {
namespace {

GUEST(support_echo) {
  const int fd = connected_socket(SocketAddress(arguments.at(0)));
  CHECK_THAT(fd >= 0);
  CHECK_THAT(echo_round_trip(fd));
  say(peer_address(fd).text());
}

GUEST(support_fails) {
  errno = ECONNREFUSED;
  CHECK_THAT(arguments.size() == 7);
}

GUEST(support_talks) {
  say("ready");
  say("heard " + await_line());
  await_line();
}

TEST(Support, GuestTalksToTheEchoServer) {
  PrivateNet net;
  const EchoServer server({9001, 9002});
  for (const char* destination :
       {"127.0.0.1:9001", "127.0.0.1:9002", "[::1]:9001", "[::ffff:127.0.0.1]:9002"}) {
    EXPECT_EQ(run_guest("support_echo", native(), {destination}),
              (GuestResult{0, std::string(destination) + "\n", ""}));
  }
  EXPECT_EQ(run_guest("support_echo", native(), {"127.0.0.1:9003"}).status, 1);
}

TEST(Support, FailedCheckNamesPlaceConditionAndErrno) {
  const GuestResult result = run_guest("support_fails", native());
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("support_test.cpp"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("arguments.size() == 7 (errno: ECONNREFUSED)"), std::string::npos)
      << result.err;
  EXPECT_EQ(run_guest("no_such_guest", native()).status, 2);
}

TEST(Support, ServerThatClosesFirst) {
  PrivateNet net;
  const EchoServer server({9001}, Answer::close_first);
  const Descriptor client(connected_socket(SocketAddress("127.0.0.1:9001")));
  ASSERT_TRUE(client);
  char byte = 0;
  EXPECT_EQ(recv(client.get(), &byte, 1, 0), 0);
}

TEST(Support, HolderTakesEveryPortAndGivesThemBack) {
  PrivateNet net;
  net.set_port_range(40000, 40099);
  const EchoServer server({9001}, Answer::silent);
  {
    const Holder all(SocketAddress("127.0.0.1:9001"), 200);
    EXPECT_EQ(all.held(), 100U);
    EXPECT_EQ(all.error(), EADDRNOTAVAIL);
    EXPECT_EQ(connected_socket(SocketAddress("127.0.0.1:9001")), -1);
    EXPECT_EQ(errno, EADDRNOTAVAIL);
  }
  const Holder some(SocketAddress("[::1]:9001"), 50);
  EXPECT_EQ(some.held(), 50U);
  EXPECT_EQ(some.error(), 0);
}

TEST(Support, PrivateNetIsPrivate) {
  const std::string before = PrivateNet().sysctl("net.ipv4.ip_local_port_range");
  {
    PrivateNet net;
    net.set_port_range(2000, 2001);
    EXPECT_EQ(net.sysctl("net.ipv4.ip_local_port_range"), "2000\t2001");
    net.add_address("10.9.8.7/32");
    net.add_address("fd00::7/128");
    EXPECT_EQ(bind_error(tcp_socket(AF_INET), SocketAddress("10.9.8.7:0")), 0);
    EXPECT_EQ(bind_error(tcp_socket(AF_INET6), SocketAddress("[fd00::7]:0")), 0);
    EXPECT_THROW(net.set_sysctl("vm.swappiness", "1"), std::invalid_argument);
  }
  EXPECT_EQ(PrivateNet().sysctl("net.ipv4.ip_local_port_range"), before);
}

TEST(Support, ProcessOutputStatusInputAndDeath) {
  Process shell({"sh", "-c", "echo out; echo err >&2; echo $ADDED; exit 7"}, {"ADDED=here"});
  EXPECT_EQ(shell.wait(), 7);
  EXPECT_EQ(shell.out(), "out\nhere\n");
  EXPECT_EQ(shell.err(), "err\n");

  Process talker = start_guest("support_talks", native());
  talker.wait_for_output("ready\n");
  talker.send_line("this");
  talker.wait_for_output("heard this\n");
  EXPECT_TRUE(talker.running());
  talker.signal(SIGTERM);
  EXPECT_EQ(talker.wait(), 128 + SIGTERM);

  EXPECT_EQ(Process({"/no/such/program"}).wait(), 127);
  EXPECT_THROW(Process({"sleep", "60"}).wait(std::chrono::milliseconds(1)), std::runtime_error);
}

}  // namespace
}  // namespace portpool::test
