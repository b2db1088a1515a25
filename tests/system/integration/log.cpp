// poold's log: it neither ends the daemon nor makes it wait, whoever reads it or does not.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>

#include "base/descriptor.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

// Many lines for each reload: a warning for each source that is not there.
std::string chatty(const std::string& mode, int pools) {
  std::string text = "mode = \"" + mode + "\"\nsources_optional = true\n";
  for (int pool = 0; pool < pools; ++pool) {
    text += "[[pool]]\ndestinations = [\"10.9.0.0/16:80\"]\nsources = [";
    for (int i = 1; i <= 60; ++i) {
      text += "\"10.7." + std::to_string(pool) + "." + std::to_string(i) + "\", ";
    }
    text += "]\n";
  }
  return text;
}

// poold with its log in a pipe that the test reads, or does not.
class LogPipe : public EchoNet {
 protected:
  LogPipe() {
    EXPECT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    reader = Descriptor(open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    fcntl(reader.get(), F_SETPIPE_SZ, 4096);
  }

  void start(const std::string& text) {
    std::ofstream(config) << text;
    poold = std::make_unique<Process>(
        std::vector<std::string>{"sh", "-c", "exec \"$@\" 2>" + pipe, "sh", poold_path(), "serve",
                                 "--socket", socket, "--config", config});
    ASSERT_TRUE(mode_is("pool"));
  }
  void reload(const std::string& text) {
    std::ofstream(config) << text;
    poold->signal(SIGHUP);
  }
  bool mode_is(const std::string& mode) {
    return eventually([&] {
      Process status({poold_path(), "status", "--json", "--socket", socket});
      if (status.wait() > 1) return false;
      const nlohmann::json now = nlohmann::json::parse(status.out());
      return now.at("daemon").at("mode") == mode;
    });
  }
  // Reads on until `text` has come.
  bool reads(const std::string& text) {
    return eventually([&] {
      char part[4096];
      for (ssize_t got = 0; (got = read(reader.get(), part, sizeof part)) > 0;) {
        seen.append(part, static_cast<std::size_t>(got));
      }
      return seen.find(text) != std::string::npos;
    });
  }

  TempDir directory;
  std::string pipe = directory.file("log");
  std::string socket = directory.file("s");
  std::string config = directory.file("poold.toml");
  Descriptor reader;
  std::unique_ptr<Process> poold;
  std::string seen;
};

TEST_F(LogPipe, WhoseReaderGoesAway) {
  start("mode = \"pool\"\n");
  reader = Descriptor();
  reload("mode = \"observe\"\n");
  EXPECT_TRUE(mode_is("observe"));
  reload("nonsense\n");
  reload("mode = \"pool\"\n");
  EXPECT_TRUE(mode_is("pool"));
  poold->signal(SIGTERM);
  EXPECT_EQ(poold->wait(), 0);
}

TEST_F(LogPipe, ThatNobodyReadsForAWhile) {
  start("mode = \"pool\"\n");
  // More than the pipe and the queue hold.
  for (const char* mode : {"observe", "ab", "pool"}) {
    reload(chatty(mode, 40));
    ASSERT_TRUE(mode_is(mode));
  }
  EXPECT_TRUE(reads("lines of the log are missing here"));
  // The newest are kept.
  EXPECT_TRUE(reads("configuration reloaded")) << seen;
  reload("mode = \"observe\"\n");
  EXPECT_TRUE(mode_is("observe"));
  poold->signal(SIGTERM);
  EXPECT_TRUE(reads("ended\n")) << seen;
  EXPECT_EQ(poold->wait(), 0);
}

TEST_F(LogPipe, ThatNobodyReadsAtTheEnd) {
  start("mode = \"pool\"\n");
  reload(chatty("observe", 5));
  ASSERT_TRUE(mode_is("observe"));
  poold->signal(SIGTERM);
  EXPECT_EQ(poold->wait(), 0);
}

// Others share the description: a shell would get EAGAIN from a terminal that poold has left so.
TEST_F(EchoNet, LogLeavesTheDescriptionOfStandardErrorAlone) {
  const TempDir directory;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Descriptor reader(ends[0]);
  const Descriptor writer(ends[1]);
  const int before = fcntl(writer.get(), F_GETFL);
  Process poold({"bash", "-c", "exec \"$@\" 2>&" + std::to_string(writer.get()), "bash",
                 poold_path(), "serve", "--socket", directory.file("s")});
  char first;
  ASSERT_EQ(read(reader.get(), &first, 1), 1);
  EXPECT_EQ(fcntl(writer.get(), F_GETFL), before);
}

TEST_F(EchoNet, LogHasTheTimeWithItsZone) {
  const TempDir directory;
  Process poold({poold_path(), "serve", "--socket", directory.file("s")},
                {"TZ=XYZ-5:30", "JOURNAL_STREAM=1:1"});
  const std::regex line(
      "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}\\+05:30 poold\\[[0-9]+\\] info: serving on");
  EXPECT_TRUE(eventually([&] { return std::regex_search(poold.err(), line); })) << poold.err();
}

TEST_F(EchoNet, LogHasPrioritiesForTheJournal) {
  const TempDir directory;
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const Descriptor reader(ends[0]);
  const Descriptor writer(ends[1]);
  struct stat file {};
  ASSERT_EQ(fstat(writer.get(), &file), 0);
  const std::string config = directory.write("poold.toml", "");
  Process poold(
      {"bash", "-c", "exec \"$@\" 2>&" + std::to_string(writer.get()), "bash", poold_path(),
       "serve", "--socket", directory.file("s"), "--config", config},
      {"JOURNAL_STREAM=" + std::to_string(file.st_dev) + ":" + std::to_string(file.st_ino)});
  std::string seen;
  const auto reads = [&](const std::string& text) {
    return eventually([&] {
      char part[4096];
      const ssize_t got = recv(reader.get(), part, sizeof part, MSG_DONTWAIT);
      if (got > 0) seen.append(part, static_cast<std::size_t>(got));
      return seen.find(text) != std::string::npos;
    });
  };
  EXPECT_TRUE(reads("<6>serving on ")) << seen;
  std::ofstream(config) << "nonsense\n";
  poold.signal(SIGHUP);
  EXPECT_TRUE(reads("<3>" + config + ":1:")) << seen;
  // And what is said without a log.
  Process refused(
      {"bash", "-c", "exec \"$@\" 2>&" + std::to_string(writer.get()), "bash", poold_path(),
       "serve", "--config", "/no/such/file"},
      {"JOURNAL_STREAM=" + std::to_string(file.st_dev) + ":" + std::to_string(file.st_ino)});
  EXPECT_TRUE(reads("<3>poold: cannot read the configuration /no/such/file")) << seen;
}

TEST_F(EchoNet, LogLevelIsThatOfTheConfigurationAndOfTheOption) {
  const auto said = [](Poold& poold, const std::string& text) {
    return poold.process().err().find(text) != std::string::npos;
  };
  Poold poold("log_level = \"info\"\n");
  poold.make_lanes({kEcho});
  EXPECT_TRUE(said(poold, "serving on"));
  EXPECT_FALSE(said(poold, "lane ")) << poold.process().err();
  std::ofstream(poold.config_path()) << "log_level = \"debug\"\n";
  poold.process().signal(SIGHUP);
  ASSERT_TRUE(eventually([&] { return said(poold, "configuration reloaded"); }));
  poold.make_lanes({kOtherEcho});
  EXPECT_TRUE(eventually([&] { return said(poold, " debug: lane "); })) << poold.process().err();
  std::ofstream(poold.config_path()) << "log_level = \"loud\"\n";
  poold.process().signal(SIGHUP);
  EXPECT_TRUE(eventually([&] {
    return said(poold, "one of \"critical\", \"debug\", \"error\", \"info\", \"off\", \"trace\"");
  })) << poold.process().err();

  const TempDir directory;
  const std::string config = directory.write("poold.toml", "log_level = \"trace\"\n");
  Process quiet({poold_path(), "serve", "--socket", directory.file("s"), "--config", config,
                 "--log-level", "off"});
  EXPECT_TRUE(eventually([&] {
    return Process({poold_path(), "status", "--socket", directory.file("s")}).wait() == 0;
  }));
  quiet.signal(SIGTERM);
  EXPECT_EQ(quiet.wait(), 0);
  EXPECT_EQ(quiet.err(), "");
  EXPECT_EQ(Process({poold_path(), "serve", "--log-level", "loud"}).wait(), 2);
}

TEST_F(PooledNet, RefusalsAreNotSaidOneByOne) {
  if (geteuid() != 0) GTEST_SKIP() << "root alone can become somebody else";
  // The file lets everybody in; poold does not.
  const fs::path directory = fs::path(poold.socket()).parent_path();
  const std::string program = directory / "program";
  fs::copy_file(poold_path(), program);
  for (const std::string& path : {directory.string(), program, poold.socket()}) {
    fs::permissions(path, fs::perms(0777));
  }
  for (int i = 0; i < 3; ++i) {
    Process status({"setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", program,
                    "status", "--socket", poold.socket()});
    EXPECT_EQ(status.wait(), 2) << status.out();
  }
  const auto count = [&](const std::string& text) {
    const std::string log = poold.process().err();
    int times = 0;
    for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++times;
    return times;
  };
  EXPECT_TRUE(eventually([&] { return count("refused pid") > 0; })) << poold.process().err();
  // After all three were answered.
  EXPECT_EQ(poold.stop(), 0);
  EXPECT_EQ(count("refused pid"), 1) << poold.process().err();
}

}  // namespace
}  // namespace portpool::test
