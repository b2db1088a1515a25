// Destinations that run out of ports, by the states behind it, and --destination.
#include <filesystem>
#include <fstream>

#include "support/far_side.h"
#include "system/doctor/common.h"

namespace portpool::test {
namespace {

nlohmann::json worst_destination(const Diagnosis& diagnosis) {
  return diagnosis.check("destinations").at("evidence").at("destinations").at(0);
}

TEST_F(ServedNet, NothingHeld) {
  expect_check(diagnose(), "destinations", "ok", {"no outgoing connection", "2,200"});
}

TEST_F(ServedNet, FromCalmToExhausted) {
  const Holder calm(SocketAddress(kServer), 500);
  Diagnosis d = diagnose();
  expect_check(d, "destinations", "ok", {kServer, "500 of 2,200", "600 before the cliff"});
  EXPECT_EQ(worst_destination(d).at("to_cliff"), 600);

  const Holder near(SocketAddress(kServer), 400);
  expect_check(diagnose(), "destinations", "warn", {kServer, "900 of 2,200", "200 more"});

  const Holder past(SocketAddress(kServer), 300);
  d = diagnose();
  expect_check(d, "destinations", "fail", {"127.0.0.1 -> " + kServer, "1,200 of 2,200", "1,100"});
  EXPECT_NE(d.check("destinations").at("fix").get<std::string>().find("poold run --"),
            std::string::npos);
  EXPECT_EQ(d.status, 2);

  const Holder all(SocketAddress(kServer), 2000);
  EXPECT_EQ(all.held(), 1000U);
  d = diagnose();
  expect_check(d, "destinations", "fail", {kServer, "2,200 of 2,200", "EADDRNOTAVAIL"});
  EXPECT_EQ(worst_destination(d).at("free"), 0);
  EXPECT_EQ(worst_destination(d).at("states").at("ESTAB"), 2200);
  // Nothing is to be had there any more, and nothing is still to come.
  EXPECT_EQ(worst_destination(d).at("sustainable_per_s"), 0);
  const std::string text = diagnose_as_text({"--destination", kServer}).out;
  EXPECT_NE(text.find("next: exhausted: no port is left"), std::string::npos) << text;
  EXPECT_EQ(worst_destination(d).at("processes").size(), 4U);
  EXPECT_NE(d.check("destinations").at("fix").get<std::string>().find("ip_local_port_range"),
            std::string::npos);
}

TEST_F(ServedNet, TheWorstComesFirst) {
  const Holder other(SocketAddress(kOtherServer), 950);
  const Holder holder(SocketAddress(kServer), 1200);
  const Diagnosis d = diagnose_as_text();
  EXPECT_TRUE(d.out.starts_with("[FAIL] destinations: 127.0.0.1 -> " + kServer)) << d.out;
  // What to do stands right below, before anything else that is told of it.
  const std::size_t action = d.out.find("\n       do: ");
  EXPECT_LT(action, d.out.find("\n       states: ")) << d.out;
  EXPECT_LT(action, d.out.find("\n[")) << d.out;
  EXPECT_NE(d.out.find("also 127.0.0.1 -> " + kOtherServer), std::string::npos) << d.out;
  EXPECT_EQ(d.out.find("\033"), std::string::npos);
}

GUEST(connect_and_close) {
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    const int fd = connected_socket(SocketAddress(arguments.at(0)));
    CHECK_THAT(fd >= 0 && echo_round_trip(fd) && close(fd) == 0);
  }
}

// Until both FINs of all connections are through.
void await_time_wait(unsigned count) {
  EXPECT_TRUE(eventually(
      [&] { return worst_destination(diagnose()).at("states").value("TIME-WAIT", 0U) == count; }));
}

TEST_F(ServedNet, TimeWaitThatIsHeadingForTheCliff) {
  net.set_port_range(20000, 29999);
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "0");
  ASSERT_EQ(run_guest("connect_and_close", native(), {kServer, "3000"}), GuestResult{});
  await_time_wait(3000);
  const Diagnosis d = diagnose();
  expect_check(d, "destinations", "warn", {kServer, "connections/s end there", "5,000"});
  const nlohmann::json worst = worst_destination(d);
  EXPECT_EQ(worst.at("states").at("TIME-WAIT"), 3000);
  EXPECT_EQ(worst.at("sustainable_per_s"), 166.7);
  EXPECT_GE(worst.at("settles_at"), 5000);
  EXPECT_NE(d.check("destinations").at("fix").get<std::string>().find("tcp_tw_reuse=1"),
            std::string::npos);
}

TEST_F(ServedNet, TimeWaitThatFillsTheRange) {
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "0");
  ASSERT_EQ(run_guest("connect_and_close", native(), {kServer, "2200"}), GuestResult{});
  await_time_wait(2200);
  Diagnosis d = diagnose();
  expect_check(d, "destinations", "fail", {kServer, "2,200 of 2,200"});
  EXPECT_NE(d.check("destinations").at("fix").get<std::string>().find("tcp_tw_reuse=1"),
            std::string::npos);
  net.set_sysctl("net.ipv4.tcp_timestamps", "0");
  EXPECT_NE(diagnose().check("destinations").at("fix").get<std::string>().find("tcp_timestamps=1"),
            std::string::npos);
  // With reuse the same sockets do no harm once they are a second old.
  net.set_sysctl("net.ipv4.tcp_timestamps", "1");
  net.set_sysctl("net.ipv4.tcp_tw_reuse", "1");
  EXPECT_TRUE(eventually([] { return diagnose().status_of("destinations") == "ok"; }));
}

// A port in TIME-WAIT comes back early only where the far side, too, has TCP timestamps.
class TimeWaitAtAFarHost : public SmallNet {
 protected:
  TimeWaitAtAFarHost() {
    net.set_port_range(20000, 20399);
    net.set_sysctl("net.ipv4.tcp_tw_reuse", "1");
  }

  // All ports toward it in TIME-WAIT, and old enough.
  void fill() {
    ASSERT_EQ(run_guest("connect_and_close", native(), {to, "400"}), GuestResult{});
    EXPECT_TRUE(eventually(
        [] { return worst_destination(diagnose()).at("states").value("TIME-WAIT", 0U) == 400; }));
  }
  // Of the destination in question, whether another one is fuller or not.
  std::string peer() const {
    const nlohmann::json destinations =
        diagnose().check("destinations").at("evidence").at("destinations");
    for (const nlohmann::json& destination : destinations) {
      if (destination.at("destination") == to)
        return destination.value("peer_timestamps", "not asked");
    }
    return "not listed";
  }

  const std::string to = kFarHost + ":9001";
};

TEST_F(TimeWaitAtAFarHost, WithoutTimestampsThere) {
  const FarSide far({9001, 9002}, {{"net.ipv4.tcp_timestamps", "0"}});
  fill();
  // What the doctor says is so: in the first second it would be so anyway.
  EXPECT_TRUE(eventually([&] {
    return worst_destination(diagnose()).at("reusable_time_wait") == 400 || peer() == "no";
  }));
  EXPECT_EQ(connected_socket(SocketAddress(to)), -1);
  EXPECT_EQ(errno, EADDRNOTAVAIL);
  // No connection shows whether it has: not known, and not "nothing wrong".
  Diagnosis d = diagnose();
  expect_check(d, "destinations", "unknown", {to, "TIME-WAIT", "timestamps"});
  EXPECT_NE(d.status, 0) << d.out;
  EXPECT_NE(d.check("destinations").at("fix"), "");
  expect_check(diagnose({"--destination", to}), "destination", "unknown", {to, "timestamps"});
  // One to another port of the same host does.
  const Holder other(SocketAddress(kFarHost + ":9002"), 1);
  ASSERT_EQ(other.held(), 1U);
  d = diagnose();
  expect_check(d, "destinations", "fail", {to, "400 of 400", "EADDRNOTAVAIL"});
  EXPECT_EQ(worst_destination(d).at("peer_timestamps"), "no");
  const std::string fix = d.check("destinations").at("fix");
  EXPECT_NE(fix.find("no TCP timestamps"), std::string::npos) << fix;
  expect_check(diagnose({"--destination", to}), "destination", "fail", {to, "0 free"});
}

TEST_F(TimeWaitAtAFarHost, WithTimestampsThere) {
  const FarSide far({9001, 9002});
  fill();
  const Holder other(SocketAddress(kFarHost + ":9002"), 1);
  EXPECT_TRUE(eventually([] { return diagnose().status_of("destinations") == "ok"; }));
  EXPECT_EQ(peer(), "yes");
  EXPECT_GE(connected_socket(SocketAddress(to)), 0);
}

TEST_F(SmallNet, ProgramThatDoesNotCloseWhatThePeerClosed) {
  const EchoServer server({9001}, Answer::close_first);
  const Holder holder(SocketAddress(kServer), 1200);
  EXPECT_TRUE(eventually([] {
    const auto states = worst_destination(diagnose()).at("states");
    return states.value("CLOSE-WAIT", 0) == 1200;
  }));
  const Diagnosis d = diagnose();
  expect_check(d, "destinations", "fail", {kServer, "1,200 of 2,200"});
  EXPECT_NE(d.check("destinations").at("fix").get<std::string>().find("does not close"),
            std::string::npos);
}

// The server's ends of connections are no use of its ports toward its clients.
TEST_F(SmallNet, ServersInsideTheRangeAreNotDestinations) {
  net.set_port_range(9000, 11199);
  const EchoServer server({9001});
  const Holder holder(SocketAddress(kServer), 300);
  const Diagnosis d = diagnose();
  EXPECT_EQ(d.check("destinations").at("evidence").at("count"), 1);
  EXPECT_EQ(worst_destination(d).at("destination"), kServer);
}

TEST_F(ServedNet, UnderTheShimThereIsNoCliff) {
  const Poold poold;
  poold.make_lanes({kServer});
  Process guest = start_guest("hold_connections", poold.shim(), {kServer, "1900"});
  guest.wait_for_output("held");
  const std::vector<std::string> socket{"PORTPOOL_SOCKET=" + poold.socket()};
  Diagnosis d = diagnose({}, socket);
  expect_check(d, "destinations", "ok", {kServer, "libportpool.so"});
  expect_check(d, "shim", "ok", {"1 process"});
  expect_check(diagnose({"--destination", kServer}, socket), "destination", "ok",
               {kServer, "libportpool.so"});
}

TEST_F(ServedNet, OneDestinationExplained) {
  Process one = start_guest("hold_connections", native(), {kServer, "900"});
  one.wait_for_output("held");
  Process two = start_guest("hold_connections", native(), {kServer, "100"});
  two.wait_for_output("held");
  const Holder other(SocketAddress(kOtherServer), 50);
  const Diagnosis d = diagnose({"--destination", kServer});
  EXPECT_EQ(d.status, 1);
  ASSERT_EQ(d.report.at("checks").size(), 1U) << d.out;
  expect_check(d, "destination", "warn",
               {"127.0.0.1 -> " + kServer, "1,000 of 2,200", "1,200 free"});
  const nlohmann::json evidence = d.check("destination").at("evidence");
  EXPECT_EQ(evidence.at("cliff_at"), 1100);
  EXPECT_EQ(evidence.at("processes").at(0).at("pid"), one.pid());
  EXPECT_EQ(evidence.at("processes").at(0).at("ports"), 900);
  EXPECT_EQ(evidence.at("processes").at(1).at("pid"), two.pid());
  EXPECT_EQ(evidence.at("growth"), 0);
  const std::string text = diagnose_as_text({"--destination", "localhost:9001"}).out;
  for (const char* word : {"1,000 of 2,200", "900 ESTAB", "cliff at 1,100", "not growing"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word << " is not in:\n" << text;
  }
}

GUEST(connect_slowly) {
  for (;;) {
    CHECK_THAT(connected_socket(SocketAddress(arguments.at(0))) >= 0);
    usleep(10'000);
  }
}

TEST_F(ServedNet, DestinationThatGrows) {
  const Process guest = start_guest("connect_slowly", native(), {kServer});
  EXPECT_TRUE(eventually([] {
    const std::string text = diagnose_as_text({"--destination", kServer}).out;
    return text.find("growing by ") != std::string::npos &&
           text.find("exhausted in ") != std::string::npos;
  }));
}

TEST_F(ServedNet, DestinationWithoutConnections) {
  expect_check(diagnose({"--destination", kServer}), "destination", "ok",
               {kServer, "no connection", "2,200"});
  const Holder few(SocketAddress(kServer), 5);
  const std::string text = diagnose_as_text({"--destination", kServer}).out;
  EXPECT_NE(text.find("5 ESTAB"), std::string::npos) << text;
  EXPECT_NE(text.find("next: "), std::string::npos) << text;
  expect_check(diagnose({"--destination", "[2001:db8::1]:443"}), "destination", "warn",
               {"[2001:db8::1]:443", "no route"});
}

TEST_F(ServedNet, IPv6Destination) {
  const Holder holder(SocketAddress("[::1]:9001"), 1200);
  expect_check(diagnose(), "destinations", "fail", {"::1 -> [::1]:9001", "1,200 of 2,200"});
  expect_check(diagnose({"--destination", "[::1]:9001"}), "destination", "fail", {"[::1]:9001"});
}

}  // namespace
}  // namespace portpool::test
