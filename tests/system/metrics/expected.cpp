// [expect] in the configuration: who should be attached and is not, in status, doctor and metrics,
// with real programs.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "system/integration/common.h"
#include "system/metrics/exposition.h"
#include "system/metrics/http_get.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

const std::string kMetrics = "127.0.0.1:9481";

// A control group of the name of a unit, for as long as the test lasts.
class Unit {
 public:
  explicit Unit(const std::string& name) {
    for (const char* root :
         {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}) {
      std::error_code error;
      if (!fs::exists(std::string(root) + "/cgroup.procs")) continue;
      path_ = std::string(root) + "/" + name;
      if (fs::create_directory(path_, error)) return;
    }
    path_.clear();
  }
  ~Unit() {
    if (path_.empty()) return;
    EXPECT_TRUE(eventually([&] { return rmdir(path_.c_str()) == 0; })) << path_;
  }
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

  bool exists() const { return !path_.empty(); }
  void take_in(pid_t pid) const { std::ofstream(path_ + "/cgroup.procs") << pid; }

 private:
  std::string path_;
};

// Names that nobody else on the machine has: /proc shows all of it.
std::string unique(const std::string& text) { return text + std::to_string(getpid()); }

class Expected : public EchoNet {
 protected:
  void serve(const std::string& expect) {
    poold = std::make_unique<Poold>(config(expect));
    EXPECT_TRUE(metrics_answer_at(kMetrics));
  }
  void reload(const std::string& expect) const {
    std::ofstream(poold->config_path()) << config(expect);
    poold->process().signal(SIGHUP);
  }
  std::string state_of(const std::string& name) const {
    const nlohmann::json status = poold->status();
    for (const nlohmann::json& one : status.at("expected")) {
      if (one.at("name") == name) return one.at("state");
    }
    return "not expected";
  }
  void becomes(const std::string& name, const std::string& state) const {
    std::string last;
    EXPECT_TRUE(eventually([&] { return (last = state_of(name)) == state; }))
        << name << ": " << last << ", not " << state;
  }
  double metric(const std::string& kind, const std::string& name) const {
    const Exposition page(http_get(kMetrics, "/metrics").body);
    return page.value("portpool_expected_clients", {{"kind", kind}, {"name", name}});
  }
  std::string printed(std::vector<std::string> words, int status) const {
    words.insert(words.begin(), poold_path());
    words.insert(words.end(), {"--socket", poold->socket()});
    Process process(words);
    EXPECT_EQ(process.wait(), status) << process.err();
    return process.out();
  }
  // python3 under another name, which runs `code`.
  Process python(const std::string& name, const std::string& code, const Under& under,
                 std::vector<std::string> wrapper = {}) const {
    const std::string link = place_.file(name);
    std::error_code exists;
    fs::create_symlink("/usr/bin/python3", link, exists);
    std::vector<std::string> environment = under.environment;
    if (under.shim) {
      for (std::string& variable : preload_environment())
        environment.push_back(std::move(variable));
    }
    wrapper.insert(wrapper.end(), {link, "-Sc", code});
    return Process(wrapper, environment);
  }
  Under shim() const { return shim_at(poold->socket()); }

  std::unique_ptr<Poold> poold;

 private:
  static std::string config(const std::string& expect) {
    return "metrics_listen = \"" + kMetrics + "\"\n" + expect;
  }

  TempDir place_;
};

const std::string kStay = "import sys; sys.stdin.readline()";
const std::string kConnect =
    "import socket, sys; socket.create_connection(('127.0.0.1', 9001)).close(); "
    "sys.stdin.readline()";

TEST_F(Expected, ComesAndGoes) {
  const std::string name = unique("came");
  serve("[expect]\nprograms = [\"" + name + "\"]\n");
  becomes(name, "absent");
  EXPECT_EQ(metric("program", name), 0);
  {
    const Process native_one = python(name, kStay, native());
    becomes(name, "not_attached");
    EXPECT_EQ(metric("program", name), 0);
    // One of several is enough, and need not have connected.
    const Process process = python(name, kStay, shim());
    becomes(name, "served");
    EXPECT_EQ(metric("program", name), 1);
    EXPECT_TRUE(poold->status().at("expected").at(0).at("served").get<bool>());
  }
  becomes(name, "absent");
}

TEST_F(Expected, IsNamedWithWhatIsInTheWay) {
  const std::string gone = unique("gone");
  const std::string watches = unique("sees");
  const std::string served = unique("well");
  serve("[expect]\nprograms = [\"" + gone + "\", \"" + watches + "\", \"" + served + "\"]\n");
  const Process observer =
      python(watches, kConnect, shim_at(poold->socket(), {"PORTPOOL_MODE=observe"}));
  const Process good = python(served, kConnect, shim());
  becomes(served, "served");
  becomes(watches, "observe");
  becomes(gone, "absent");
  const std::string text = printed({"status"}, 0);
  const std::string first = text.substr(0, text.find("poold 0"));
  EXPECT_NE(first.find("Expected and not served: "), std::string::npos) << text;
  EXPECT_NE(first.find(gone), std::string::npos) << text;
  EXPECT_NE(first.find(watches), std::string::npos) << text;
  EXPECT_EQ(first.find(served), std::string::npos) << text;
  EXPECT_NE(text.find("  " + gone + ": no process of it is to be seen\n"), std::string::npos);
  EXPECT_NE(text.find("  " + watches + ": attached, and on the kernel's path, in mode observe\n"),
            std::string::npos)
      << text;
  Process doctor({poold_path(), "doctor", "--json", "--socket", poold->socket()});
  doctor.wait();
  bool found = false;
  const nlohmann::json report = nlohmann::json::parse(doctor.out());
  for (const nlohmann::json& check : report.at("checks")) {
    if (check.at("name") != "expected") continue;
    found = true;
    EXPECT_EQ(check.at("status"), "warn") << check;
    EXPECT_EQ(check.at("evidence").at("expected"), 3);
    EXPECT_EQ(check.at("evidence").at("missing").size(), 2U) << check;
    EXPECT_NE(check.at("summary").get<std::string>().find(" is expected and not served: "),
              std::string::npos)
        << check;
  }
  EXPECT_TRUE(found) << report;
}

TEST_F(Expected, ByTheUnitThatItRunsIn) {
  const std::string name = unique("test") + ".service";
  const Unit unit(name);
  if (!unit.exists()) GTEST_SKIP() << "needs the right to make a control group";
  serve("[expect]\nunits = [\"" + name + "\"]\n");
  becomes(name, "absent");
  const Process native_one = python(unique("unit"), kStay, native());
  unit.take_in(native_one.pid());
  becomes(name, "not_attached");
  const Process process = python(unique("unit"), kStay, shim());
  unit.take_in(process.pid());
  becomes(name, "served");
  EXPECT_EQ(metric("unit", name), 1);
}

// Of a reload and of a poold that takes over nobody notices a gap.
TEST_F(Expected, ReloadAndSuccessorGoOn) {
  const std::string one = unique("one");
  const std::string two = unique("two");
  serve("");
  EXPECT_EQ(state_of(one), "not expected");
  const Process process = python(one, kStay, shim());
  EXPECT_TRUE(poold->eventually_status(
      [](const nlohmann::json& now) { return now.at("clients").at("attached") == 1; }));
  // It has attached before it was expected.
  reload("[expect]\nprograms = [\"" + one + "\"]\n");
  becomes(one, "served");
  reload("[expect]\nprograms = [\"" + two + "\", \"" + one + "\"]\n");
  becomes(two, "absent");
  EXPECT_EQ(state_of(one), "served");
  poold->take_over();
  EXPECT_EQ(state_of(one), "served");
  EXPECT_EQ(state_of(two), "absent");
  const Process second = python(two, kStay, shim());
  becomes(two, "served");
  EXPECT_EQ(state_of(one), "served");
  reload("");
  EXPECT_TRUE(eventually([&] { return poold->status().at("expected").empty(); }));
}

// The one that attached has ended; its child, which has not been through exec, connects.
TEST_F(Expected, AForkedChildCounts) {
  const std::string name = unique("fork");
  serve("[expect]\nprograms = [\"" + name + "\"]\n");
  Process process = python(name,
                           "import os, socket, sys\n"
                           "if os.fork(): os._exit(0)\n"
                           "socket.create_connection(('127.0.0.1', 9001)).close()\n"
                           "print('connected', flush=True)\n"
                           "sys.stdin.readline()\n",
                           shim());
  EXPECT_TRUE(eventually([&] { return process.out().find("connected") != std::string::npos; }));
  becomes(name, "served");
  EXPECT_EQ(process.wait(), 0);
}

// A wrapper under the library starts the program without it.
TEST_F(Expected, AWrapperThatLosesTheLibraryIsNoHelp) {
  const std::string name = unique("lost");
  serve("[expect]\nprograms = [\"" + name + "\"]\n");
  const Process process = python(name, kStay, shim(), {"env", "-u", "LD_PRELOAD"});
  EXPECT_TRUE(poold->eventually_status([](const nlohmann::json& now) {
    return now.at("clients").at("attaches").at("attached") == 1;
  }));
  becomes(name, "not_attached");
}

TEST_F(Expected, InAnotherPidNamespace) {
  if (geteuid() != 0) GTEST_SKIP() << "needs a pid namespace";
  const std::string name = unique("inner");
  serve("[expect]\nprograms = [\"" + name + "\"]\n");
  const Process process = python(name, kConnect, shim(),
                                 {"unshare", "--pid", "--mount-proc", "--fork", "--kill-child"});
  becomes(name, "served");
}

// Names that mean something in a metric, a terminal or JSON.
TEST_F(Expected, WildNames) {
  serve("[expect]\nprograms = ['a\"b\\c{}', \"gr\\u00fcn \\u2603\", \"=,\"]\n");
  becomes("a\"b\\c{}", "absent");
  becomes("gr\xC3\xBCn \xE2\x98\x83", "absent");
  const TempDir directory;
  const std::string file = directory.write("metrics", http_get(kMetrics, "/metrics").body);
  Process promtool({"sh", "-c", "promtool check metrics <\"$0\"", file});
  EXPECT_EQ(promtool.wait(), 0) << promtool.err();
  EXPECT_EQ(promtool.out() + promtool.err(), "");
  const std::string text = printed({"status"}, 0);
  EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) {
    return c == '\n' || (c >= ' ' && c <= '~');
  })) << text;
}

// Who comes, and what becomes of it.
TEST_F(Expected, AttachesAreCountedByResult) {
  serve("");
  const auto counted = [&](const char* result) {
    const Exposition page(http_get(kMetrics, "/metrics").body);
    return page.value("portpool_attaches_total", {{"result", result}});
  };
  EXPECT_EQ(counted("attached"), 0) << "poold status is none";
  const Process process = python(unique("att"), kStay, shim());
  EXPECT_TRUE(eventually([&] { return counted("attached") == 1; }));
  EXPECT_EQ(counted("refused_user") + counted("refused_netns"), 0);
  const double gone = counted("gone");
  poold->process().signal(SIGSTOP);
  for (int i = 0; i < 3; ++i) {
    const Descriptor visitor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    poold->socket().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(connect(visitor.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  poold->process().signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return counted("gone") >= gone + 3; }));
  const nlohmann::json counts = poold->status().at("clients").at("attaches");
  EXPECT_EQ(counts.at("attached"), 1) << counts;
  EXPECT_GE(counts.at("gone"), gone + 3) << counts;
  if (geteuid() != 0) GTEST_SKIP() << "the refusals need other users and namespaces";
  // A command that finds the memory by /proc does not wait for its answer, and may be gone.
  EXPECT_TRUE(eventually([&] {
    Process elsewhere({"unshare", "--net", poold_path(), "status", "--socket", poold->socket()});
    elsewhere.wait();
    return counted("refused_netns") > 0;
  }));
}

}  // namespace
}  // namespace portpool::test
