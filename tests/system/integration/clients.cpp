// `poold status --clients` and `poold check --all`: every program under the library, with what it
// has left in the segment.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <list>
#include <sstream>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

struct Listed {
  int status = -1;
  nlohmann::json json;

  // The program with that number; null without one.
  nlohmann::json of(pid_t pid) const {
    for (const nlohmann::json& program : json.at("programs")) {
      if (program.at("pid") == pid) return program;
    }
    return nullptr;
  }
};

Listed list(const std::vector<std::string>& words, const std::string& socket) {
  std::vector<std::string> command{poold_path()};
  command.insert(command.end(), words.begin(), words.end());
  command.insert(command.end(), {"--json", "--socket", socket});
  Process process(command);
  Listed listed;
  listed.status = process.wait();
  EXPECT_EQ(process.err(), "");
  listed.json = nlohmann::json::parse(process.out(), nullptr, false);
  EXPECT_TRUE(listed.json.contains("programs")) << process.out();
  return listed;
}

std::uint64_t connects_of(const nlohmann::json& program) {
  const nlohmann::json& connects = program.at("connects");
  return connects.at("pool").get<std::uint64_t>() + connects.at("kernel").get<std::uint64_t>();
}

class Clients : public PooledNet {
 protected:
  Listed check_all() const { return list({"check", "--all"}, poold.socket()); }
  Listed status_clients() const { return list({"status", "--clients"}, poold.socket()); }
  // A guest that has made `count` connects.
  Process& client(int count, const Under& under) {
    std::vector<std::string> environment = under.environment;
    if (under.shim) {
      for (std::string& variable : preload_environment())
        environment.push_back(std::move(variable));
    }
    Process& guest = clients_.emplace_back(guest_command("echo_on_demand", {kEcho}), environment);
    for (int i = 1; i <= count; ++i) connect_once(guest, i);
    return guest;
  }
  static void connect_once(Process& guest, int nth) {
    guest.send_line("go");
    std::string done;
    for (int i = 0; i < nth; ++i) done += "done\n";
    guest.wait_for_output(done);
  }

 private:
  std::list<Process> clients_;
};

TEST_F(Clients, WhatEachProcessDid) {
  const Process& busy = client(5, poold.shim());
  const Process& quiet = client(0, poold.shim());
  const Process& native_one = client(1, native());
  for (const Listed& listed : {check_all(), status_clients()}) {
    const nlohmann::json program = listed.of(busy.pid());
    ASSERT_FALSE(program.is_null()) << listed.json.dump(1);
    EXPECT_EQ(program.at("served"), "yes") << program;
    EXPECT_EQ(program.at("mode"), "pool");
    EXPECT_EQ(program.at("reason"), "");
    EXPECT_EQ(program.at("name"), "integration_cli");
    EXPECT_EQ(program.at("connects").at("pool"), 5) << program;
    const nlohmann::json other = listed.of(quiet.pid());
    ASSERT_FALSE(other.is_null()) << listed.json.dump(1);
    EXPECT_EQ(other.at("served"), "yes") << other;
    EXPECT_TRUE(other.at("connects").is_null()) << other;
    EXPECT_TRUE(listed.of(native_one.pid()).is_null());
  }
}

TEST_F(Clients, WhyTheKernelsPathWasTaken) {
  Process guest = start_guest("echo_on_demand", poold.shim(), {kOtherEcho});
  connect_once(guest, 1);
  const nlohmann::json program = check_all().of(guest.pid());
  ASSERT_FALSE(program.is_null());
  EXPECT_EQ(program.at("connects").at("kernel"), 1) << program;
  EXPECT_EQ(program.at("fallback").at("reason"), "no_lane") << program;
  EXPECT_EQ(program.at("fallback").at("count"), 1) << program;
}

TEST_F(Clients, ThatAreNotServed) {
  const Process& served = client(1, poold.shim());
  const Process& off = client(1, shim_at(poold.socket(), {"PORTPOOL_MODE=off"}));
  const Process& observing = client(1, poold.shim({"PORTPOOL_MODE=observe"}));
  const Process& lost = client(1, shim_at(poold.socket() + ".other"));
  const Process& unloaded = client(1, Under{false, {"LD_PRELOAD=/no/such/libportpool.so"}});
  const Listed listed = check_all();
  EXPECT_EQ(listed.status, 2);
  EXPECT_EQ(listed.json.at("answer"), "no");
  const auto reason = [&](const Process& process) {
    return listed.of(process.pid()).at("reason").get<std::string>();
  };
  EXPECT_EQ(reason(served), "");
  EXPECT_EQ(reason(off), "off");
  EXPECT_EQ(listed.of(off.pid()).at("mode"), "off");
  EXPECT_EQ(reason(observing), "observe");
  EXPECT_EQ(listed.of(observing.pid()).at("mode"), "observe");
  EXPECT_EQ(connects_of(listed.of(observing.pid())), 1U);
  EXPECT_EQ(reason(lost), "no_daemon");
  EXPECT_EQ(reason(unloaded), "not_loaded");
}

TEST_F(Clients, OfADaemonThatWasKilled) {
  const Process& guest = client(1, poold.shim());
  poold.kill();
  const Listed listed = check_all();
  EXPECT_EQ(listed.status, 2);
  EXPECT_EQ(listed.of(guest.pid()).at("reason"), "stale_heartbeat");
}

// DESTINATION: connects three times, then its child twice, which stays.
GUEST(forks_and_connects) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < 3; ++i) CHECK_THAT(close(connected_socket(destination)) == 0);
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 2; ++i) CHECK_THAT(close(connected_socket(destination)) == 0);
    say("child " + std::to_string(getpid()));
    await_line();
    _exit(0);
  }
  waitpid(child, nullptr, 0);
}

TEST_F(Clients, ForkedChildrenHaveEntriesOfTheirOwn) {
  Process guest = start_guest("forks_and_connects", poold.shim(), {kEcho});
  guest.wait_for_output("\n");
  std::istringstream words(guest.out());
  std::string word;
  pid_t child = 0;
  words >> word >> child;
  const Listed listed = check_all();
  EXPECT_EQ(connects_of(listed.of(guest.pid())), 3U) << listed.json.dump(1);
  EXPECT_EQ(connects_of(listed.of(child)), 2U) << listed.json.dump(1);
}

// It becomes another program, which counts anew under the same number.
GUEST(connects_and_becomes_another) {
  CHECK_THAT(close(connected_socket(SocketAddress(arguments.at(0)))) == 0);
  become_guest("echo_on_demand", {arguments.at(0)});
}

TEST_F(Clients, ProgramsThatBecomeOthers) {
  Process guest = start_guest("connects_and_becomes_another", poold.shim(), {kEcho});
  connect_once(guest, 1);
  connect_once(guest, 2);
  const Listed listed = check_all();
  EXPECT_EQ(connects_of(listed.of(guest.pid())), 2U) << listed.json.dump(1);
  std::size_t times = 0;
  for (const nlohmann::json& program : listed.json.at("programs")) {
    if (program.at("inner_pid") == guest.pid()) ++times;
  }
  EXPECT_EQ(times, 1U) << listed.json.dump(1);
}

// Who has ended is not listed, however it ended.
TEST_F(Clients, ThatHaveEnded) {
  Process& well = client(1, poold.shim());
  Process& killed = client(1, poold.shim());
  killed.signal(SIGKILL);
  killed.wait();
  well.signal(SIGTERM);
  well.wait();
  const Listed listed = check_all();
  for (const nlohmann::json& program : listed.json.at("programs")) {
    EXPECT_NE(program.at("inner_pid"), well.pid()) << program;
    EXPECT_NE(program.at("inner_pid"), killed.pid()) << program;
  }
}

// From a pid namespace in which they have no number.
TEST_F(Clients, InPidNamespacesThatCannotBeSeen) {
  if (geteuid() != 0) GTEST_SKIP() << "needs a pid namespace";
  const Process& guest = client(2, poold.shim());
  Process process({"unshare", "--pid", "--mount-proc", "--fork", "--kill-child", poold_path(),
                   "check", "--all", "--json", "--socket", poold.socket()});
  process.wait();
  const nlohmann::json json = nlohmann::json::parse(process.out(), nullptr, false);
  ASSERT_TRUE(json.contains("programs")) << process.out() << process.err();
  bool found = false;
  for (const nlohmann::json& program : json.at("programs")) {
    found = found || (program.at("pid") == 0 && program.at("inner_pid") == guest.pid() &&
                      program.at("reason") == "other_pid_namespace" && connects_of(program) == 2);
  }
  EXPECT_TRUE(found) << json.dump(1);
}

GUEST(has_a_wild_name) {
  const char name[] = "\033[31m\xff\n\";reboot";
  CHECK_THAT(prctl(PR_SET_NAME, name) == 0);
  CHECK_THAT(close(connected_socket(SocketAddress(arguments.at(0)))) == 0);
  say("ready");
  await_line();
}

TEST_F(Clients, TextFitsTheTerminalAndDoesNothingToIt) {
  Process wild = start_guest("has_a_wild_name", poold.shim(), {kEcho});
  wild.wait_for_output("ready");
  const Process& served = client(2, poold.shim());
  const Process& lost = client(1, shim_at(poold.socket() + ".other"));
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"check", "--all"}, {"status", "--clients"}}) {
    std::vector<std::string> command{poold_path()};
    command.insert(command.end(), words.begin(), words.end());
    command.insert(command.end(), {"--socket", poold.socket()});
    Process process(command);
    process.wait();
    const std::string text = process.out();
    EXPECT_EQ(text.find('\033'), std::string::npos) << text;
    EXPECT_NE(text.find("PID PROGRAM"), std::string::npos) << text;
    for (const pid_t pid : {wild.pid(), served.pid(), lost.pid()}) {
      EXPECT_NE(text.find(std::to_string(pid) + " "), std::string::npos) << text;
    }
    EXPECT_NE(text.find("no_daemon"), std::string::npos) << text;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
  }
}

// The list is of the whole machine: other tests' programs may be in it.
TEST_F(EchoNet, ListWithoutADaemon) {
  const TempDir place;
  const Process guest = start_guest("echo_on_demand", shim_at(place.file("nobody.sock")), {kEcho});
  ASSERT_TRUE(eventually([&] {
    const Listed listed = list({"check", "--all"}, place.file("nobody.sock"));
    const nlohmann::json program = listed.of(guest.pid());
    return listed.status == 2 && !program.is_null() && program.at("reason") == "no_daemon";
  }));
  Process both({poold_path(), "check", "--all", "true"});
  EXPECT_EQ(both.wait(), 2);
}

}  // namespace
}  // namespace portpool::test
