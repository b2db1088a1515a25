// `poold run -- COMMAND`: the program runs as it would without, but for a summary on stderr.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <thread>

#include "support/elf_file.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

class RunCommand : public EchoNet {
 protected:
  // As the folder of a user's own that every user can go through.
  RunCommand() { fs::permissions(directory.path(), fs::perms::owner_all | fs::perms::others_exec); }

  // With temporary directories of its own, so that leftovers show.
  std::vector<std::string> environment() const {
    return {"TMPDIR=" + directory.path(), "XDG_RUNTIME_DIR=" + directory.path(),
            "PORTPOOL_SOCKET=" + directory.file("no-daemon"), kBeginAttached};
  }

  static std::vector<std::string> command(const std::vector<std::string>& program) {
    std::vector<std::string> result{poold_path(), "run", "--"};
    result.insert(result.end(), program.begin(), program.end());
    return result;
  }

  void expect_status(int expected, const std::vector<std::string>& program) {
    Process process(command(program), environment());
    EXPECT_EQ(process.wait(), expected) << process.err();
    EXPECT_TRUE(fs::is_empty(directory.path())) << *fs::directory_iterator(directory.path());
  }

  TempDir directory;
};

TEST_F(RunCommand, ExitStatusIsTheProgramsOwn) {
  expect_status(0, {"true"});
  expect_status(7, {"sh", "-c", "exit 7"});
  expect_status(255, {"sh", "-c", "exit 255"});
  expect_status(128 + SIGKILL, {"sh", "-c", "kill -9 $$"});
  expect_status(128 + SIGSEGV, {"sh", "-c", "kill -SEGV $$"});
  expect_status(127, {"no-such-command-anywhere"});
  expect_status(127, {"/no/such/command"});
  const TempDir elsewhere;
  expect_status(126, {elsewhere.write("not-executable", "")});
}

TEST_F(RunCommand, OutputAndInputAreTheProgramsOwn) {
  Process process(command({"sh", "-c", "read x; echo got $x; echo oops >&2"}), environment());
  process.send_line("this");
  EXPECT_EQ(process.wait(), 0);
  EXPECT_EQ(process.out(), "got this\n");
  EXPECT_TRUE(process.err().starts_with("oops\n")) << process.err();
}

TEST_F(RunCommand, ConnectsGoThroughThePoolAndAreSummedUp) {
  Process process(command(guest_command("echo_often", {kEcho, "500"})), environment());
  EXPECT_EQ(process.wait(), 0) << process.err();
  EXPECT_EQ(process.out(), "");
  EXPECT_NE(process.err().find("500"), std::string::npos) << process.err();
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

// Says where its daemon's socket is, then is echo_on_demand.
GUEST(says_its_socket) {
  say(std::getenv("PORTPOOL_SOCKET"));
  for (;;) {
    if (await_line() == "end") return;
    const int fd = connected_socket(SocketAddress(arguments.at(0)));
    CHECK_THAT(fd >= 0 && close(fd) == 0);
    say("done");
  }
}

TEST_F(RunCommand, PrivateDaemonAndJsonReport) {
  const TempDir reports;
  const std::string json = reports.file("report.json");
  std::vector<std::string> words{poold_path(), "run", "--json", json, "--"};
  for (const std::string& word : guest_command("says_its_socket", {kEcho})) words.push_back(word);
  Process process(words, environment());
  process.wait_for_output("\n");
  const std::string socket = process.out().substr(0, process.out().find('\n'));
  EXPECT_TRUE(socket.starts_with(directory.path())) << socket;
  std::string expected = socket + "\n";
  const auto connect = [&] {
    process.send_line("");
    expected += "done\n";
    process.wait_for_output(expected);
  };
  nlohmann::json before;
  EXPECT_TRUE(eventually([&] {
    connect();
    Process status({poold_path(), "status", "--json"}, {"PORTPOOL_SOCKET=" + socket});
    if (status.wait() != 0) return false;
    before = nlohmann::json::parse(status.out());
    return pool_connects(before) > 0;
  }));
  for (int i = 0; i < 10; ++i) connect();
  process.send_line("end");
  EXPECT_EQ(process.wait(), 0) << process.err();
  const nlohmann::json report = nlohmann::json::parse(read_whole_file(json));
  EXPECT_GE(kernel_connects(report), 2U);
  EXPECT_EQ(kernel_connects(report), kernel_connects(before));
  EXPECT_EQ(pool_connects(report), pool_connects(before) + 10);
}

// A file that cannot be written is told before anything has been done in vain; later it is no
// reason to change the program's own status, unless that says that all went well.
TEST_F(RunCommand, FilesAreTriedFirst) {
  const TempDir reports;
  for (const char* option : {"--json", "--report"}) {
    Process process({poold_path(), "run", option, "/no/such/folder/file", "--", "touch",
                     reports.file("touched")},
                    environment());
    EXPECT_EQ(process.wait(), 2) << option;
    EXPECT_NE(process.err().find("/no/such/folder/file"), std::string::npos) << process.err();
    EXPECT_FALSE(fs::exists(reports.file("touched"))) << option;
    Process full({poold_path(), "run", option, "/dev/full", "--", "sh", "-c", "exit 7"},
                 environment());
    EXPECT_EQ(full.wait(), 7) << option;
    EXPECT_NE(full.err().find("/dev/full"), std::string::npos) << full.err();
    Process content({poold_path(), "run", option, "/dev/full", "--", "true"}, environment());
    EXPECT_EQ(content.wait(), 2) << option;
  }
}

// The report comes after what the command wrote, to a pipe as to a file.
TEST_F(RunCommand, ReportOnStandardOutput) {
  const TempDir reports;
  const std::string file = reports.file("both");
  for (const std::string& where : {"> " + file, "| cat > " + file}) {
    Process process({"sh", "-c", "\"$@\" " + where, "sh", poold_path(), "run", "--json",
                     "/dev/stdout", "--", "echo", "hello"},
                    environment());
    EXPECT_EQ(process.wait(), 0) << process.err();
    const std::string text = read_whole_file(file);
    ASSERT_TRUE(text.starts_with("hello\n{")) << text;
    EXPECT_EQ(nlohmann::json::parse(text.substr(6)).at("schema"), 1);
  }
}

TEST_F(RunCommand, ExitStatusIsTheProgramsOwnWhateverBecomesOfStderr) {
  for (const char* where : {"2>&-", "2>/dev/full", "2>&- >&- <&-"}) {
    for (const char* mode : {"pool", "ab"}) {
      const std::string script = "exec \"$@\" " + std::string(where);
      Process process({"sh", "-c", script, "sh", poold_path(), "run", "--mode", mode, "--", "sh",
                       "-c", "exit 7"},
                      environment());
      EXPECT_EQ(process.wait(), 7) << where << " " << mode;
    }
  }
  // A pipe whose reader has gone.
  const std::string script = "{ { \"$@\"; echo $? >&3; } 2>&1 >/dev/null | true; } 3>&1";
  Process process(
      {"sh", "-c", script, "sh", poold_path(), "run", "--", "sh", "-c", "sleep 0.3; exit 7"},
      environment());
  process.wait();
  EXPECT_EQ(process.out(), "7\n");
}

// Neither does a pipe that is full and that nobody reads keep the status from its caller.
TEST_F(RunCommand, ExitStatusComesThoughNobodyReadsStderr) {
  const std::string script =
      "import os, subprocess, sys\n"
      "reader, writer = os.pipe()\n"
      "os.set_blocking(writer, False)\n"
      "try:\n"
      "  while True: os.write(writer, b'x')\n"
      "except BlockingIOError: os.set_blocking(writer, True)\n"
      "sys.exit(subprocess.call(sys.argv[1:], stderr=writer))\n";
  Process process(
      {"python3", "-c", script, poold_path(), "run", "--mode", "ab", "--", "sh", "-c", "exit 7"},
      environment());
  EXPECT_EQ(process.wait(), 7);
}

GUEST(says_signals) {
  sigset_t waited;
  sigfillset(&waited);
  sigprocmask(SIG_BLOCK, &waited, nullptr);
  say("ready");
  for (;;) {
    int number = 0;
    CHECK_THAT(sigwait(&waited, &number) == 0);
    say("signal " + std::to_string(number));
    if (number == SIGRTMAX) std::exit(42);
  }
}

TEST_F(RunCommand, SignalsAreForwarded) {
  Process process(command(guest_command("says_signals")), environment());
  process.wait_for_output("ready\n");
  std::string expected = "ready\n";
  const auto expect_forwarded = [&](int number) {
    process.signal(number);
    expected += "signal " + std::to_string(number) + "\n";
    process.wait_for_output(expected);
  };
  for (const int number :
       {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGSTKFLT, SIGURG,
        SIGXCPU, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGWINCH, SIGCONT, SIGRTMIN}) {
    expect_forwarded(number);
  }
  // Not for as long as the command does not stop.
  for (const int number : {SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1}) expect_forwarded(number);
  process.signal(SIGRTMAX);
  EXPECT_EQ(process.wait(), 42) << process.err();
  EXPECT_EQ(process.out(), expected + "signal " + std::to_string(SIGRTMAX) + "\n");
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

bool is_stopped(const std::string& pid) {
  return read_whole_file("/proc/" + pid + "/stat").find(") T ") != std::string::npos;
}

// As a shell has to see it, by whatever the command was stopped.
TEST_F(RunCommand, StopsAsAJobWithItsCommand) {
  Process process(command({"sh", "-c", "echo $$; read x; exit 9"}), environment());
  process.wait_for_output("\n");
  const std::string inner = process.out().substr(0, process.out().find('\n'));
  const std::string outer = std::to_string(process.pid());
  for (const pid_t stopped : {process.pid(), static_cast<pid_t>(std::stoi(inner))}) {
    ASSERT_EQ(kill(stopped, SIGTSTP), 0);
    EXPECT_TRUE(eventually([&] { return is_stopped(outer) && is_stopped(inner); }));
    process.signal(SIGCONT);
    EXPECT_TRUE(eventually([&] { return !is_stopped(outer) && !is_stopped(inner); }));
  }
  process.send_line("");
  EXPECT_EQ(process.wait(), 9) << process.err();
}

// Somebody looks into the command, and lets it go on later: by then it has to be served.
TEST_F(RunCommand, GoesOnWhenTheCommandAloneIsHalted) {
  Process process(command({"sh", "-c", "trap 'echo more' USR1; echo $$; while :; do read x; done"}),
                  environment());
  process.wait_for_output("\n");
  const std::string inner = process.out().substr(0, process.out().find('\n'));
  const pid_t pid = std::stoi(inner);
  ASSERT_EQ(kill(pid, SIGSTOP), 0);
  EXPECT_TRUE(eventually([&] { return is_stopped(inner); }));
  process.signal(SIGUSR1);
  ASSERT_EQ(kill(pid, SIGCONT), 0);
  process.wait_for_output("more\n");
  EXPECT_FALSE(is_stopped(std::to_string(process.pid())));
  process.signal(SIGKILL);
  kill(pid, SIGKILL);
}

// Nor does it matter what the caller does about its own children: the command finds it unchanged.
TEST_F(RunCommand, CallerThatIgnoresTheEndOfChildren) {
  const std::string script =
      "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
      "os.execv(sys.argv[1], sys.argv[1:])";
  const auto run = [&](const std::vector<std::string>& program) {
    std::vector<std::string> words{"python3", "-c", script, poold_path(), "run", "--"};
    words.insert(words.end(), program.begin(), program.end());
    return words;
  };
  Process process(run({"sh", "-c", "exit 7"}), environment());
  EXPECT_EQ(process.wait(), 7) << process.err();
  Process looking(run({"grep", "SigIgn", "/proc/self/status"}), environment());
  EXPECT_EQ(looking.wait(), 0) << looking.err();
  const std::string shown = looking.out();
  const std::size_t colon = shown.find(':');
  ASSERT_NE(colon, std::string::npos) << shown;
  const unsigned long long ignored = std::stoull(shown.substr(colon + 1), nullptr, 16);
  EXPECT_EQ(ignored >> (SIGCHLD - 1) & 1, 1U) << shown;
}

// An alarm outlives exec: it was meant for the command.
TEST_F(RunCommand, AlarmThatWasSetBefore) {
  const std::string script =
      "import os, signal, sys; signal.alarm(1); os.execv(sys.argv[1], sys.argv[1:])";
  Process process({"python3", "-c", script, poold_path(), "run", "--", "sleep", "60"},
                  environment());
  EXPECT_EQ(process.wait(), 128 + SIGALRM) << process.err();
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST_F(RunCommand, ProgramThatDiesOfAForwardedSignal) {
  Process process(command({"sh", "-c", "echo ready; exec sleep 60"}), environment());
  process.wait_for_output("ready\n");
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM) << process.err();
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

// Copies of the programs where everybody may execute them, laid out as they are built.
class OtherUsers : public RunCommand {
 protected:
  OtherUsers() {
    fs::permissions(place.path(),
                    fs::perms::owner_all | fs::perms::others_read | fs::perms::others_exec);
    fs::create_directories(place.file("bin"));
    fs::create_directories(place.file("lib"));
    fs::copy(poold_path(), place.file("bin"));
    fs::copy(shim_path(), place.file("lib"));
    fs::copy(guest_command("")[0], place.file("guest"));
  }
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "not root: nobody else can be had";
  }

  using Words = std::vector<std::string>;

  static Words joined(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Words guest(const std::string& name, const Words& arguments) const {
    return joined({place.file("guest"), "--guest=" + name}, arguments);
  }
  // poold run -- WORDS
  Words run(const Words& words) const { return joined({poold(), "run", "--"}, words); }
  std::string poold() const { return place.file("bin/poold"); }

  const Words nobody{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
  TempDir place;
};

TEST_F(OtherUsers, NeedsNoRoot) {
  fs::permissions(directory.path(), fs::perms::all);
  Process process(joined(nobody, run(guest("echo_often", {kEcho, "500"}))), environment());
  EXPECT_EQ(process.wait(), 0) << process.err();
  EXPECT_NE(process.err().find("500"), std::string::npos) << process.err();
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

bool is_here(const std::string& program) {
  Process process({"sh", "-c", "command -v " + program});
  return process.wait() == 0;
}

// The command becomes another user: its connects go through the pool all the same. Where its socket
// would lie in a folder that only root can enter, as /run/user/0 is, it lies elsewhere.
TEST_F(OtherUsers, CommandThatBecomesAnotherUser) {
  const std::vector<Words> wrappers{nobody,
                                    {"runuser", "-u", "nobody", "--"},
                                    {"gosu", "nobody"},
                                    joined({"sh", "-c", "\"$@\" & exit 0", "sh"}, nobody)};
  for (const fs::perms mode :
       {fs::perms::owner_all, fs::perms::owner_all | fs::perms::others_exec}) {
    fs::permissions(directory.path(), mode);
    for (const Words& wrapper : wrappers) {
      if (!is_here(wrapper[0])) {
        ADD_FAILURE() << "no " << wrapper[0] << " (packaging/install-deps.sh test)";
        continue;
      }
      const TempDir reports;
      const std::string json = reports.file("json");
      const Words command = joined({poold(), "run", "--json", json, "--"},
                                   joined(wrapper, guest("echo_often", {kEcho, "500"})));
      Process process(command, environment());
      EXPECT_EQ(process.wait(), 0) << wrapper[0] << process.err();
      const nlohmann::json report = nlohmann::json::parse(read_whole_file(json));
      EXPECT_EQ(pool_connects(report) + kernel_connects(report), 500U) << wrapper[0];
      EXPECT_GT(pool_connects(report), 0U) << wrapper[0] << process.err();
      EXPECT_EQ(process.err().find("runs without the pool"), std::string::npos) << process.err();
      EXPECT_TRUE(fs::is_empty(directory.path()));
    }
  }
}

// The socket can be opened by everybody then; who does not descend from the command's poold gets
// nothing there. Root, and poold's own user, do as ever.
TEST_F(OtherUsers, StrangersAreRefused) {
  fs::permissions(directory.path(), fs::perms::owner_all | fs::perms::others_exec);
  Process process(run(guest("says_its_socket", {kEcho})), environment());
  process.wait_for_output("\n");
  const std::string socket = process.out().substr(0, process.out().find('\n'));
  ASSERT_TRUE(socket.starts_with(directory.path())) << socket;
  const auto status = [&](const Words& before) {
    Process asking(joined(before, {poold(), "status", "--json"}), {"PORTPOOL_SOCKET=" + socket});
    asking.wait();
    return asking.out();
  };
  EXPECT_EQ(status(nobody), "");
  const nlohmann::json seen = nlohmann::json::parse(status({}));
  EXPECT_EQ(seen.at("clients").at("refused"), 1);
  process.send_line("end");
  EXPECT_EQ(process.wait(), 0) << process.err();
}

// Nothing came through the library: the summary names what took it away.
TEST_F(OtherUsers, WrappersThatLoseTheLibraryAreNamed) {
  const std::string echo = place.file("guest") + " --guest=echo_often " + kEcho + " 1";
  const struct {
    Words command;
    const char* named;
  } cases[] = {
      {joined({"env", "-i"}, guest("echo_often", {kEcho, "1"})), "env: -i drops"},
      {{"su", "-s", "/bin/sh", "-", "nobody", "-c", echo}, "su: a login"},
      {joined({"mptcpize", "run"}, guest("echo_often", {kEcho, "1"})), "mptcpize: it replaces"},
      {joined(joined(nobody, {"env", "-u", "LD_PRELOAD"}), guest("echo_often", {kEcho, "1"})),
       "env: it drops"},
      // Not on the command line: seen while it runs.
      {{"sh", "-c", "env -i sleep 2"}, "sleep (pid "},
  };
  for (const auto& [command, named] : cases) {
    Process process(run(command), environment());
    EXPECT_EQ(process.wait(), 0) << command[0] << process.err();
    const std::string text = process.err();
    const std::size_t summary = text.find("no TCP connect passed through the shim: ");
    ASSERT_NE(summary, std::string::npos) << text;
    EXPECT_NE(text.find(named, summary), std::string::npos) << named << " is not in: " << text;
  }
  // A login that keeps the variables is no such thing.
  Process kept(
      run({"su", "-w", "LD_PRELOAD,PORTPOOL_SOCKET", "-s", "/bin/sh", "-", "nobody", "-c", echo}),
      environment());
  EXPECT_EQ(kept.wait(), 0) << kept.err();
  EXPECT_NE(kept.err().find("1 TCP connect"), std::string::npos) << kept.err();
}

// Its child stands at the end of execve(), where ld.so has not mapped anything yet, for many looks.
GUEST(child_held_at_exec) {
  const pid_t child = fork();
  CHECK_THAT(child >= 0);
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execl("/bin/true", "true", nullptr);
    _exit(127);
  }
  int status = 0;
  CHECK_THAT(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  ptrace(PTRACE_DETACH, child, nullptr, nullptr);
  CHECK_THAT(waitpid(child, &status, 0) == child);
}

TEST_F(RunCommand, AProgramThatIsBeingStartedIsNotAccused) {
  Process process(command(guest_command("child_held_at_exec")), environment());
  EXPECT_EQ(process.wait(), 0) << process.err();
  EXPECT_EQ(process.err().find("did not load the library"), std::string::npos) << process.err();
}

// The runtime's own message does not say what is to be done.
TEST_F(RunCommand, SaysHowToRunWithASanitizersRuntime) {
  const TempDir place;
  const std::string program = place.file("sanitized");
  fs::copy_file(elf_that_needs(1, std::string_view("libasan.so.8\0", 13)).path(), program);
  fs::permissions(program, fs::perms::owner_all);
  Process process(command({program}), environment());
  EXPECT_NE(process.wait(), 0);
  EXPECT_NE(process.err().find("-print-file-name=libasan.so"), std::string::npos) << process.err();
  std::vector<std::string> arranged = environment();
  arranged.push_back("ASAN_OPTIONS=verify_asan_link_order=0");
  Process told(command({program}), arranged);
  EXPECT_NE(told.wait(), 0);
  EXPECT_EQ(told.err().find("-print-file-name"), std::string::npos) << told.err();
}

TEST_F(RunCommand, SaysThatNothingConnected) {
  Process process(command({"true"}), environment());
  EXPECT_EQ(process.wait(), 0);
  EXPECT_NE(process.err().find("the programs that loaded it made none"), std::string::npos)
      << process.err();
}

TEST_F(RunCommand, UsesTheRunningDaemon) {
  const Poold poold;
  poold.make_lanes({kEcho});
  Process process(command(guest_command("echo_often", {kEcho, "100"})),
                  {"PORTPOOL_SOCKET=" + poold.socket(), kBeginAttached});
  EXPECT_EQ(process.wait(), 0) << process.err();
  EXPECT_EQ(pool_connects(poold.status()), 100U);
}

TEST_F(RunCommand, WrongUsage) {
  for (const std::vector<std::string>& options : {std::vector<std::string>{"run"},
                                                  {"run", "--"},
                                                  {"run", "--mode", "nonsense", "--", "true"},
                                                  {"run", "--source", "nonsense", "--", "true"},
                                                  {"run", "--no-such-option", "--", "true"}}) {
    std::vector<std::string> words{poold_path()};
    words.insert(words.end(), options.begin(), options.end());
    Process process(words, environment());
    EXPECT_EQ(process.wait(), 2) << process.err();
    EXPECT_NE(process.err(), "");
  }
}

}  // namespace
}  // namespace portpool::test
