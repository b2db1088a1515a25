// Started in bad surroundings: descriptors missing, low limits, no thread to be had.
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

// What a shell puts before a command to start it without those of the descriptors 0 to 2 that are
// in the mask.
std::string without(unsigned mask) {
  std::string closing;
  for (int fd = 0; fd < 3; ++fd) {
    if ((mask >> fd & 1U) != 0) closing += " " + std::to_string(fd) + ">&-";
  }
  return closing;
}

std::vector<std::string> in_shell(const std::string& script,
                                  const std::vector<std::string>& arguments) {
  std::vector<std::string> command{"sh", "-c", script, "sh"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

TEST_F(EchoNet, DaemonWithoutStandardDescriptors) {
  for (unsigned mask = 1; mask < 8; ++mask) {
    SCOPED_TRACE(without(mask));
    const TempDir directory;
    const std::string socket = directory.file("s");
    Process poold(
        in_shell("exec \"$@\"" + without(mask), {poold_path(), "serve", "--socket", socket}));
    const auto status = [&] {
      Process command({poold_path(), "status", "--json", "--socket", socket});
      return command.wait() == 0 ? command.out() : std::string();
    };
    ASSERT_TRUE(eventually([&] { return !status().empty(); })) << poold.err();
    for (int fd = 0; fd < 3; ++fd) {
      if ((mask >> fd & 1U) == 0) continue;
      const fs::path link = "/proc/" + std::to_string(poold.pid()) + "/fd/" + std::to_string(fd);
      EXPECT_EQ(fs::read_symlink(link), "/dev/null") << fd;
    }
    // A line for the log.
    poold.signal(SIGHUP);
    const nlohmann::json now = nlohmann::json::parse(status());
    EXPECT_EQ(now.at("daemon").at("pid"), poold.pid());
    EXPECT_EQ(now.at("daemon").at("mode"), "pool");
    poold.signal(SIGTERM);
    EXPECT_EQ(poold.wait(), 0);
  }
}

TEST_F(PooledNet, CommandsWithoutStandardOutput) {
  for (const char* command : {"doctor", "status", "version"}) {
    SCOPED_TRACE(command);
    Process process(in_shell("exec \"$1\" " + std::string(command) + " >&-", {poold_path()}),
                    {"PORTPOOL_SOCKET=" + poold.socket()});
    EXPECT_EQ(process.wait(), 2);
    EXPECT_NE(process.err().find("Bad file descriptor"), std::string::npos) << process.err();
  }
}

TEST_F(EchoNet, LimitOfDescriptorsIsRaised) {
  const TempDir directory;
  Process poold(in_shell("ulimit -Sn 256; exec \"$@\"",
                         {poold_path(), "serve", "--socket", directory.file("s")}));
  ASSERT_TRUE(eventually([&] { return fs::exists(directory.file("s")); })) << poold.err();
  Process limits({"prlimit", "--nofile", "--noheadings", "--output=SOFT,HARD", "--pid",
                  std::to_string(poold.pid())});
  ASSERT_EQ(limits.wait(), 0) << limits.err();
  std::istringstream words(limits.out());
  std::string soft;
  std::string hard;
  words >> soft >> hard;
  EXPECT_EQ(soft, hard);
  EXPECT_NE(soft, "256");
}

// The field behind the name's closing bracket: proc_pid_stat(5) counts from 1, the name is the
// second.
int nice_of(const std::string& stat) {
  std::istringstream fields(stat.substr(stat.rfind(')') + 2));
  std::string field;
  for (int number = 3; number <= 19; ++number) fields >> field;
  return std::stoi(field);
}

TEST_F(EchoNet, LoopGoesBeforeOthersAndNobodyElseDoes) {
  if (geteuid() != 0) GTEST_SKIP() << "needs a privilege";
  Poold poold("metrics_listen = \"127.0.0.1:9481\"\n");
  const fs::path tasks = "/proc/" + std::to_string(poold.process().pid()) + "/task";
  for (const auto& task : fs::directory_iterator(tasks)) {
    const bool loop = task.path().filename() == std::to_string(poold.process().pid());
    const std::string stat = read_whole_file(task.path() / "stat");
    if (!loop) {
      EXPECT_EQ(nice_of(stat), 0) << stat;
    } else {
      EXPECT_LT(nice_of(stat), 0) << stat;
    }
  }
  Process run({poold_path(), "run", "--", "cat", "/proc/self/stat"});
  EXPECT_EQ(run.wait(), 0);
  EXPECT_EQ(nice_of(run.out()), 0);
  Process chosen({"nice", "-n", "3", poold_path(), "run", "--", "cat", "/proc/self/stat"});
  EXPECT_EQ(chosen.wait(), 0);
  EXPECT_EQ(nice_of(chosen.out()), 3);
}

// Its own limit and its own SIGPIPE, whatever poold needs for itself.
TEST_F(EchoNet, CommandOfRunHasWhatItWasGiven) {
  const std::string look = "ulimit -Sn; grep SigIgn /proc/self/status";
  Process natively(in_shell("ulimit -Sn 256; exec sh -c '" + look + "'", {}));
  ASSERT_EQ(natively.wait(), 0);
  Process under(in_shell("ulimit -Sn 256; exec \"$1\" run -- sh -c '" + look + "'", {poold_path()}),
                {"PORTPOOL_SOCKET=/no/such/socket"});
  EXPECT_EQ(under.wait(), 0) << under.err();
  EXPECT_EQ(under.out(), natively.out());
  EXPECT_EQ(under.out().substr(0, 4), "256\n");
}

TEST_F(EchoNet, WhereNoThreadCanBeStarted) {
  if (is_sanitized()) GTEST_SKIP() << "the sanitizer needs threads itself";
  if (geteuid() != 0) GTEST_SKIP() << "root alone can become somebody else";
  // A user whom nobody is, and a program that everybody may reach.
  const TempDir directory;
  const std::string program = directory.file("poold");
  fs::copy_file(poold_path(), program);
  fs::permissions(directory.path(), fs::perms(0755));
  fs::permissions(program, fs::perms(0755));
  Process poold({"prlimit", "--nproc=1:1", "setpriv", "--reuid=54321", "--regid=54321",
                 "--clear-groups", program, "serve", "--socket", directory.file("s")});
  EXPECT_EQ(poold.wait(), 2) << poold.err();
  EXPECT_NE(poold.err().find("poold: cannot start a thread: "), std::string::npos) << poold.err();
  EXPECT_NE(poold.err().find("ulimit -u"), std::string::npos) << poold.err();
}

}  // namespace
}  // namespace portpool::test
