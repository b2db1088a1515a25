// System calls that a filter refuses, with each error that they may have: the program sees what it
// sees without the library under the same filter, to the word, and no port is lost after it.
#include <cstdio>
#include <map>
#include <sstream>

#include "fault/fault_table.h"
#include "fault/refused/refusal.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

std::string strategy() {
  const char* chosen = std::getenv("PORTPOOL_TEST_STRATEGY");
  return chosen != nullptr ? chosen : "port-range";
}

// What stands below each "== NAME".
std::map<std::string, std::vector<std::string>> sections(const std::string& text) {
  std::map<std::string, std::vector<std::string>> all;
  std::istringstream lines(text);
  std::vector<std::string>* now = nullptr;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("== ")) {
      now = &all[line.substr(3)];
    } else if (now != nullptr) {
      now->push_back(line);
    }
  }
  return all;
}

// docs/connect.md: with the bind strategy the port stays after a connect() that failed.
bool keeps_bound_port(const std::string& natively, const std::string& here) {
  const std::string is = " is ";
  const std::size_t name = natively.find(is);
  return strategy() == "bind" && name != std::string::npos && natively.ends_with(":0") &&
         here.ends_with(":a port of the range") &&
         here.substr(0, name + is.size()) == natively.substr(0, name + is.size());
}

// The one difference that docs/connect.md tells of: a port that was promised is not reserved, and
// in this test so many are closed in each second that poold is behind with TIME_WAIT.
bool only_promises_are_broken(const std::vector<std::string>& natively,
                              const std::vector<std::string>& here) {
  if (natively.size() != here.size()) return false;
  bool broken = false;
  for (std::size_t i = 0; i < here.size(); ++i) {
    if (here[i] == natively[i] || keeps_bound_port(natively[i], here[i])) continue;
    if (!here[i].ends_with(" changes its port")) return false;
    broken = true;
  }
  return broken;
}

std::string differences(const std::vector<std::string>& natively,
                        const std::vector<std::string>& here) {
  std::string text;
  for (std::size_t i = 0; i < std::max(natively.size(), here.size()); ++i) {
    const std::string wanted = i < natively.size() ? natively[i] : "(nothing)";
    const std::string found = i < here.size() ? here[i] : "(nothing)";
    if (wanted == found || keeps_bound_port(wanted, found)) continue;
    text += "  natively: " + wanted + "\n  here:     " + found + "\n";
  }
  return text;
}

class RefusedCalls : public EchoNet, public testing::WithParamInterface<std::string> {
 protected:
  RefusedCalls() {
    // However many connections are closed, TIME_WAIT leaves most ports alone.
    net.set_sysctl("net.ipv4.tcp_max_tw_buckets", "2000");
    poold = std::make_unique<Poold>(kConfig);
    poold->make_lanes({kEcho, kOtherEcho, "[::1]:9001"});
    EXPECT_TRUE(eventually([&] {
      run_guest("asks_for_promise", poold->shim());
      return !poold->status().at("promises").empty();
    }));
  }

  // Each run binds ports of its own: those of the one before are in TIME_WAIT.
  GuestResult run(const std::string& moment, const Under& under, const std::string& name = "") {
    Arguments arguments{GetParam(), moment, strategy(), std::to_string(next_port)};
    next_port += kPortsOfARun;
    if (!name.empty()) arguments.push_back(name);
    return run_guest("refused", under, arguments);
  }
  Under under(const std::string& moment) const {
    // A refusal that was there before may keep it from attaching.
    return moment == "before" ? shim_at(poold->socket()) : poold->shim();
  }
  // What the program sees with promises that hold.
  std::vector<std::string> once_more(const std::string& moment, const std::string& name) {
    return sections(run(moment, under(moment), name).out)[name];
  }

  void expect_same(const std::string& moment) {
    SCOPED_TRACE(moment);
    const GuestResult natively = run(moment, native());
    ASSERT_EQ(natively.status, 0) << natively.err;
    const GuestResult here = run(moment, under(moment));
    EXPECT_EQ(here.status, 0) << here.err;
    EXPECT_EQ(here.err, natively.err);
    const auto wanted = sections(natively.out);
    auto found = sections(here.out);
    ASSERT_FALSE(wanted.empty());
    EXPECT_EQ(found.size(), wanted.size());
    for (const auto& [name, lines] : wanted) {
      for (int i = 0; i < kTries && found[name] != lines; ++i) {
        if (!only_promises_are_broken(lines, found[name])) break;
        ++promises_broken;
        found[name] = once_more(moment, name);
      }
      const std::string text = differences(lines, found[name]);
      EXPECT_EQ(text, "") << name;
      ++row.tried;
      row.application_errors += text.empty() ? 0 : 1;
      row.wrong_connections += text.find("here:     ") != std::string::npos &&
                               text.find("WRONG ECHO") != std::string::npos;
    }
  }

  // A pool that names sources binds sockets to them: here to the one that routing picks, too.
  const std::string kConfig = "[[pool]]\nname = \"named\"\ndestinations = [\"" + kOtherEcho +
                              "\"]\nsources = [\"127.0.0.1\"]\n";
  static constexpr int kPortsOfARun = 100;
  static constexpr int kTries = 5;
  int next_port = 10000;
  int promises_broken = 0;
  std::unique_ptr<Poold> poold;
  FaultRow row;
};

GUEST(asks_for_promise) {
  const int fd = tcp_socket(AF_INET);
  CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:0")) == 0);
  CHECK_THAT(local_port(fd) != 0);
  close(fd);
}

TEST_P(RefusedCalls, AsWithoutTheLibrary) {
  const std::uint64_t before = pool_connects(poold->status());
  for (const char* moment : {"unseen", "seen", "before"}) expect_same(moment);
  // Else it would say nothing.
  EXPECT_GT(pool_connects(poold->status()), before);
  await_agreement(*poold, {kLowPort, kHighPort}, row);
  std::printf("%d of them once more, for a promised port that somebody else had\n",
              promises_broken);
  FaultTable table;
  table.add(GetParam() + "() refused (" + strategy() + ")", row);
  table.write();
}

INSTANTIATE_TEST_SUITE_P(Call, RefusedCalls, testing::ValuesIn(refused_calls()),
                         [](const auto& call) { return call.param; });

}  // namespace
}  // namespace portpool::test
