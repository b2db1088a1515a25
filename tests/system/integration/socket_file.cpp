// The daemon's socket is taken away, or somebody else comes to stand in its place.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>

#include "base/descriptor.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

class SocketTrouble : public EchoNet {
 protected:
  std::string lock() const { return poold.socket() + ".lock"; }

  bool comes_back() const {
    return eventually([&] { return fs::is_socket(poold.socket()) && fs::exists(lock()); });
  }
  // A program that starts now is attached: the guest does not begin before it is.
  void expect_attaches() {
    const std::uint64_t before = pool_connects(poold.status());
    poold.make_lanes({kEcho});
    EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "5"}), GuestResult{});
    const nlohmann::json after = poold.status();
    EXPECT_GE(pool_connects(after), before + 5) << after.dump(1);
  }
  bool answers() const {
    return Process({poold_path(), "status", "--json"}, {"PORTPOOL_SOCKET=" + poold.socket()})
               .wait() == 0;
  }
  std::string words_of_a_second() const {
    Process second({poold_path(), "serve", "--socket", poold.socket()});
    EXPECT_EQ(second.wait(), 2) << second.err();
    return second.err();
  }
  int times_said(const std::string& text) {
    const std::string log = poold.process().err();
    int count = 0;
    for (std::size_t at = 0; (at = log.find(text, at)) != std::string::npos; ++at) ++count;
    return count;
  }

  Poold poold;
};

TEST_F(SocketTrouble, ARemovedSocketIsMadeAgain) {
  for (int times = 1; times <= 2; ++times) {
    fs::remove(poold.socket());
    ASSERT_TRUE(comes_back());
    expect_attaches();
    EXPECT_NE(words_of_a_second().find("another poold is running"), std::string::npos);
    EXPECT_EQ(times_said(poold.socket() + " had been removed or replaced"), times);
  }
}

TEST_F(SocketTrouble, SoAreItsLockAndTheDirectory) {
  const fs::path folder = fs::path(poold.socket()).parent_path();
  fs::remove(poold.socket());
  fs::remove(lock());
  ASSERT_TRUE(comes_back());
  EXPECT_NE(words_of_a_second().find("another poold is running"), std::string::npos);
  fs::remove(lock());
  ASSERT_TRUE(comes_back());
  EXPECT_NE(words_of_a_second().find("another poold is running"), std::string::npos);
  fs::remove_all(folder);
  ASSERT_TRUE(comes_back());
  expect_attaches();
  EXPECT_EQ(poold.stop(), 0) << poold.process().err();
  EXPECT_TRUE(fs::is_empty(folder));
}

// The dead socket of somebody who bound to the path when it was free.
TEST_F(SocketTrouble, AReplacedSocketIsMadeAgain) {
  poold.process().signal(SIGSTOP);
  fs::remove(poold.socket());
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  poold.socket().copy(name.sun_path, sizeof name.sun_path - 1);
  {
    const Descriptor other(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(other.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  }
  poold.process().signal(SIGCONT);
  ASSERT_TRUE(eventually([&] { return answers(); })) << poold.process().err();
  expect_attaches();
}

// It slept while its files were removed: the path is the second's, and stays so.
TEST_F(SocketTrouble, TheFirstLeavesASecondsSocketAlone) {
  poold.process().signal(SIGSTOP);
  fs::remove(poold.socket());
  fs::remove(lock());
  Process second({poold_path(), "serve", "--socket", poold.socket()});
  ASSERT_TRUE(eventually([&] { return answers(); })) << second.err();
  poold.process().signal(SIGCONT);
  EXPECT_TRUE(eventually([&] {
    return poold.process().err().find("another poold is running on") != std::string::npos;
  })) << poold.process().err();
  EXPECT_EQ(poold.stop(), 0) << poold.process().err();
  EXPECT_TRUE(answers()) << second.err();
  EXPECT_NE(words_of_a_second().find("another poold is running"), std::string::npos);
  second.signal(SIGTERM);
  EXPECT_EQ(second.wait(), 0) << second.err();
  EXPECT_FALSE(fs::exists(poold.socket()) || fs::exists(lock()));
}

GUEST(knock_for_ever) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  arguments.at(0).copy(name.sun_path, sizeof name.sun_path - 1);
  say("knocks");
  for (;;) {
    const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    (void)!connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name);
  }
}

// Whatever comes in at the socket, programs get their lanes, and others attach.
TEST_F(SocketTrouble, ManyWhoKnockAndRunAway) {
  std::vector<std::unique_ptr<Process>> crowd;
  for (int i = 0; i < 3; ++i) {
    crowd.push_back(std::make_unique<Process>(guest_command("knock_for_ever", {poold.socket()})));
    crowd.back()->wait_for_output("knocks");
  }
  for (int i = 0; i < 5; ++i) expect_attaches();
  poold.make_lanes({kOtherEcho});
}

}  // namespace
}  // namespace portpool::test
