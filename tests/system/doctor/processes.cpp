// Processes: their descriptors, whether the library is in them, and what may not be seen.
#include <sys/prctl.h>

#include <filesystem>

#include "base/text.h"
#include "support/temp_dir.h"
#include "system/doctor/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

TEST_F(ServedNet, DescriptorsNearTheirLimit) {
  Process plenty = start_guest("hold_connections", native(), {kServer, "200", "1000"});
  plenty.wait_for_output("held");
  expect_check(diagnose(), "descriptors", "ok", {"of 1,000 files", "200 outgoing"});
  Process few = start_guest("hold_connections", native(), {kServer, "200", "240"});
  few.wait_for_output("held");
  const std::string pid = std::to_string(few.pid());
  const Diagnosis d = diagnose();
  expect_check(d, "descriptors", "warn", {"(pid " + pid + ")", "of 240 files", "200 outgoing"});
  EXPECT_NE(d.check("descriptors").at("fix").get<std::string>().find("prlimit --pid " + pid),
            std::string::npos);
  Process none = start_guest("hold_connections", native(), {kServer, "200", "206"});
  none.wait_for_output("held");
  expect_check(diagnose(), "descriptors", "fail", {"(pid " + std::to_string(none.pid()) + ")"});
}

TEST_F(ServedNet, FewConnectionsAreNoMatter) {
  Process guest = start_guest("hold_connections", native(), {kServer, "50", "60"});
  guest.wait_for_output("held");
  expect_check(diagnose(), "descriptors", "ok", {"no process"});
  expect_check(diagnose(), "shim", "ok", {"no process"});
}

TEST_F(ServedNet, LibraryThatWasAskedForButIsNotLoaded) {
  Under under;
  under.environment = {"LD_PRELOAD=/nonexistent/libportpool.so"};
  Process guest = start_guest("hold_connections", under, {kServer, "150"});
  guest.wait_for_output("held");
  expect_check(
      diagnose(), "shim", "fail",
      {"(pid " + std::to_string(guest.pid()) + ", 150 outgoing connections)", "LD_PRELOAD"});
}

TEST_F(ServedNet, LibraryWithoutADaemon) {
  const TempDir directory;
  const std::string socket = directory.file("nobody.sock");
  Process guest = start_guest("hold_connections", shim_at(socket), {kServer, "150"});
  guest.wait_for_output("held");
  expect_check(diagnose(), "shim", "warn", {socket, "150 outgoing connections"});
}

TEST_F(ServedNet, DaemonWithoutTheLibrary) {
  const Poold poold;
  const std::vector<std::string> socket{"--socket", poold.socket()};
  expect_check(diagnose(socket), "shim", "ok");
  Process guest = start_guest("hold_connections", native(), {kServer, "150"});
  guest.wait_for_output("held");
  expect_check(diagnose(socket), "shim", "warn",
               {"a poold runs", "(pid " + std::to_string(guest.pid()) + ", 150"});
  expect_check(diagnose(), "shim", "ok", {"no process"});
}

// What is wrong with a guest that holds connections under `under`, by the check named shim.
nlohmann::json shim_check_of(const Under& under, const std::string& socket) {
  Process guest = start_guest("hold_connections", under, {kServer, "150"});
  guest.wait_for_output("held");
  return diagnose({"--socket", socket}).check("shim");
}

TEST_F(ServedNet, LibraryWithADaemonThatHangs) {
  Poold poold;
  poold.make_lanes({kServer});
  Process guest = start_guest("hold_connections", poold.shim(), {kServer, "150"});
  guest.wait_for_output("held");
  const std::vector<std::string> socket{"--socket", poold.socket()};
  expect_check(diagnose(socket), "shim", "ok", {"1 process"});
  poold.process().signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] {
    Process status({poold_path(), "status", "--socket", poold.socket()});
    return status.wait() == 1;  // no heartbeat
  }));
  const Diagnosis stopped = diagnose(socket);
  poold.process().signal(SIGCONT);
  expect_check(stopped, "shim", "warn", {"no sign of life", poold.socket()});
  poold.kill();
  expect_check(diagnose(socket), "shim", "warn", {"no poold listens", poold.socket()});
}

TEST_F(ServedNet, LibraryThatIsSwitchedOff) {
  const Poold poold;
  for (const std::string mode : {"off", "observe"}) {
    const nlohmann::json check =
        shim_check_of(shim_at(poold.socket(), {"PORTPOOL_MODE=" + mode}), poold.socket());
    EXPECT_EQ(check.at("status"), "warn") << check;
    EXPECT_NE(check.at("summary").get<std::string>().find("PORTPOOL_MODE=" + mode),
              std::string::npos)
        << check;
  }
}

TEST_F(ServedNet, LibraryInAProgramThatMayNotOpenTheSocket) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  const Poold poold;
  std::vector<std::string> command{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
  for (const std::string& word : guest_command("hold_connections", {kServer, "150"})) {
    command.push_back(word);
  }
  std::vector<std::string> environment = preload_environment();
  environment.push_back("PORTPOOL_SOCKET=" + poold.socket());
  Process guest(command, environment);
  guest.wait_for_output("held");
  const Diagnosis d = diagnose({"--socket", poold.socket()});
  if (!d.check("shim").at("evidence").at("processes").at(0).at("loaded")) {
    GTEST_SKIP() << "nobody cannot read the library here";
  }
  expect_check(d, "shim", "warn", {"may not open " + poold.socket()});
  EXPECT_NE(d.check("shim").at("fix").get<std::string>().find("socket_group"), std::string::npos);
}

TEST_F(ServedNet, LibraryInAnotherNetworkNamespaceThanTheDaemon) {
  const Poold poold;
  const PrivateNet elsewhere;
  const EchoServer other_server({9001});
  const nlohmann::json check = shim_check_of(shim_at(poold.socket()), poold.socket());
  EXPECT_EQ(check.at("status"), "warn") << check;
  EXPECT_NE(check.at("summary").get<std::string>().find("another network namespace"),
            std::string::npos)
      << check;
  // Not on the path where one listens.
  EXPECT_EQ(check.at("fix").get<std::string>().find(poold.socket()), std::string::npos) << check;
  Process status({poold_path(), "status", "--socket", poold.socket()});
  EXPECT_EQ(status.wait(), geteuid() == 0 ? 0 : 2) << status.err();
  EXPECT_NE((status.out() + status.err()).find("another network namespace"), std::string::npos)
      << status.out();
}

// As another user than the holder's: counts without names, and it says so.
TEST_F(ServedNet, WithoutRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "not root anyway";
  net.set_port_range(20000, 29999);
  const TempDir place;
  fs::permissions(place.path(),
                  fs::perms::owner_all | fs::perms::others_read | fs::perms::others_exec);
  fs::copy(poold_path(), place.path());
  const auto as_nobody = [&] {
    Process process({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                     place.file("poold"), "doctor", "--json"});
    Diagnosis d;
    d.status = process.wait();
    d.out = process.out();
    d.report = nlohmann::json::parse(d.out, nullptr, false);
    EXPECT_EQ(process.err(), "");
    return d;
  };
  Diagnosis d = as_nobody();
  expect_check(d, "visibility", "ok");
  expect_check(d, "shim", "ok");
  Process guest = start_guest("hold_connections", native(), {kServer, "500"});
  guest.wait_for_output("held");
  d = as_nobody();
  EXPECT_EQ(d.status, 3) << d.out;
  expect_check(d, "visibility", "unknown", {"500 outgoing connections", "other users"});
  expect_check(d, "shim", "unknown", {"500", "run as root"});
  expect_check(d, "descriptors", "unknown", {"500", "run as root"});
  expect_check(d, "destinations", "ok", {kServer, "500 of 10,000"});
}

// Processes that come and go while they are read.
TEST_F(ServedNet, ProcessesThatVanish) {
  const Process churn({"sh", "-c", "while :; do (:) & (:) & wait; done"});
  for (int i = 0; i < 20; ++i) EXPECT_NE(diagnose().status, 2);
}

// What is printed does nothing to a terminal, is valid JSON, and no fix holds `words`.
void expect_harmless(const std::string& words) {
  const std::string text = diagnose_as_text().out;
  EXPECT_EQ(text.find('\033'), std::string::npos) << text;
  EXPECT_TRUE(is_utf8(text)) << text;
  for (const nlohmann::json& check : diagnose().report.at("checks")) {
    EXPECT_EQ(check.at("fix").get<std::string>().find(words), std::string::npos) << check;
  }
}

// A name is what a process likes it to be.
GUEST(hold_with_a_wild_name) {
  const char name[] = "\033[31m\xff\n\";reboot";
  CHECK_THAT(prctl(PR_SET_NAME, name) == 0);
  for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
    CHECK_THAT(connected_socket(SocketAddress(arguments.at(0))) >= 0);
  }
  say("held");
  for (;;) await_line();
}

TEST_F(ServedNet, NamesOfProcessesAreNotTrusted) {
  // So many that a fix is due.
  Process guest = start_guest("hold_with_a_wild_name", native(), {kServer, "1050"});
  guest.wait_for_output("held");
  expect_harmless("reboot");
  EXPECT_NE(diagnose()
                .check("destinations")
                .at("fix")
                .get<std::string>()
                .find("pid " + std::to_string(guest.pid())),
            std::string::npos);
}

// Nor is what a process was started with.
TEST_F(ServedNet, EnvironmentsOfProcessesAreNotTrusted) {
  const std::string wild = "/tmp/\033[2J\xff$(reboot)/libportpool.so";
  Under asks;
  asks.environment = {"LD_PRELOAD=" + wild};
  Process not_loaded = start_guest("hold_connections", asks, {kServer, "150"});
  not_loaded.wait_for_output("held");
  expect_harmless("reboot");
  Process checked({poold_path(), "check", std::to_string(not_loaded.pid())});
  checked.wait();
  EXPECT_EQ(checked.out().find('\033'), std::string::npos);
  EXPECT_NE(checked.out().find("LD_PRELOAD names /tmp/?[2J?$(reboot)/libportpool.so"),
            std::string::npos)
      << checked.out();
}

TEST_F(ServedNet, SocketsOfProcessesAreNotTrusted) {
  Process guest =
      start_guest("hold_connections", shim_at("/tmp/\033[2J\xff;reboot"), {kServer, "150"});
  guest.wait_for_output("held");
  expect_harmless("reboot");
  const nlohmann::json check = diagnose().check("shim");
  EXPECT_NE(check.at("fix").get<std::string>().find("pid " + std::to_string(guest.pid())),
            std::string::npos)
      << check;
}

}  // namespace
}  // namespace portpool::test
