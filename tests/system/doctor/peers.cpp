// Peers that do not answer, and orphans.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "system/doctor/common.h"

namespace portpool::test {
namespace {

void await_fin(int fd) {
  pollfd wait{fd, POLLRDHUP, 0};
  CHECK_THAT(poll(&wait, 1, -1) == 1);
}

// leave_unfinished DESTINATION COUNT [after FIN]: each connection sends until nobody takes any
// more, and is closed: FIN_WAIT1 with data before the FIN, or LAST_ACK where the peer has closed
// first.
GUEST(leave_unfinished) {
  std::string data(65536, 'x');
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = connected_socket(SocketAddress(arguments.at(0)));
    CHECK_THAT(fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while (send(fd, data.data(), data.size(), MSG_NOSIGNAL) > 0) {
    }
    CHECK_THAT(errno == EAGAIN);
    if (arguments.size() > 2) await_fin(fd);
    CHECK_THAT(close(fd) == 0);
  }
  say("closed");
  for (;;) await_line();
}

// Sends its FIN at once and reads nothing.
GUEST(half_closing_server) {
  const int fd = tcp_socket(AF_INET);
  CHECK_THAT(bind_error(fd, SocketAddress(arguments.at(0))) == 0 && listen(fd, 1000) == 0);
  say("ready");
  for (;;) {
    const int connection = accept(fd, nullptr, nullptr);
    CHECK_THAT(connection >= 0 && shutdown(connection, SHUT_WR) == 0);
  }
}

TEST_F(SmallNet, PeerThatDoesNotTakeTheFin) {
  net.set_sysctl("net.ipv4.tcp_wmem", "4096 4096 4096");
  net.set_sysctl("net.ipv4.tcp_rmem", "4096 4096 4096");
  const EchoServer server({9001}, Answer::silent);
  expect_check(diagnose(), "unanswered-fins", "ok", {"no connection"});
  const Process guest = start_guest("leave_unfinished", native(), {kServer, "150"});
  EXPECT_TRUE(eventually([] { return diagnose().status_of("unanswered-fins") == "warn"; }));
  const Diagnosis d = diagnose();
  expect_check(d, "unanswered-fins", "warn", {kServer, "150", "the peer is not answering"});
  const nlohmann::json peer = d.check("unanswered-fins").at("evidence").at("peers").at(0);
  EXPECT_EQ(peer.at("peer"), kServer);
  EXPECT_EQ(peer.at("fin_wait1"), 150);
  EXPECT_EQ(peer.at("last_ack"), 0);
  EXPECT_EQ(peer.at("orphans"), 150);
  EXPECT_GE(d.check("orphans").at("evidence").at("orphans"), 150);
  EXPECT_EQ(d.check("orphans").at("evidence").at("closing_here"), 150);
}

TEST_F(SmallNet, PeerThatClosedFirstAndDoesNotTakeTheFin) {
  net.set_sysctl("net.ipv4.tcp_wmem", "4096 4096 4096");
  net.set_sysctl("net.ipv4.tcp_rmem", "4096 4096 4096");
  Process server = start_guest("half_closing_server", native(), {kServer});
  server.wait_for_output("ready");
  const Process guest = start_guest("leave_unfinished", native(), {kServer, "150", "after FIN"});
  EXPECT_TRUE(eventually([] {
    const nlohmann::json check = diagnose().check("unanswered-fins");
    return check.at("status") == "warn" &&
           check.at("evidence").at("peers").at(0).at("last_ack") == 150;
  }));
}

// Clients that do not answer are named by address: their ports differ.
TEST_F(ServedNet, ConnectionsThatCloseWellAreNoTrouble) {
  Process guest = start_guest("hold_connections", native(), {kServer, "150"});
  guest.wait_for_output("held");
  guest.signal(SIGKILL);
  guest.wait();
  expect_check(diagnose(), "unanswered-fins", "ok");
}

GUEST(connect_in_vain) {
  const int server = tcp_socket(AF_INET);
  CHECK_THAT(bind_error(server, SocketAddress(arguments.at(0))) == 0 && listen(server, 0) == 0);
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = tcp_socket(AF_INET, SOCK_NONBLOCK);
    CHECK_THAT(fd >= 0);
    connect_error(fd, SocketAddress(arguments.at(0)));
  }
  say("connecting");
  for (;;) await_line();
}

TEST_F(SmallNet, PeerThatDoesNotAnswerConnects) {
  expect_check(diagnose(), "unanswered-connects", "ok", {"no connect()"});
  const Process guest = start_guest("connect_in_vain", native(), {kServer, "150"});
  EXPECT_TRUE(eventually([] { return diagnose().status_of("unanswered-connects") == "warn"; }));
  const Diagnosis d = diagnose();
  expect_check(d, "unanswered-connects", "warn", {kServer, "connects unanswered"});
  EXPECT_GE(d.check("unanswered-connects").at("evidence").at("destination_unanswered"), 100);
  EXPECT_NE(diagnose_as_text().out.find("not local ports"), std::string::npos);
}

}  // namespace
}  // namespace portpool::test
