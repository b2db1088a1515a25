// The service manager keeps the segment's files while no poold runs (systemd's file-descriptor
// store), and the test is the service manager.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <sstream>

#include "base/descriptor.h"
#include "base/descriptor_passing.h"
#include "observe/report.h"
#include "observe/segment_reader.h"
#include "portpool/handover.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

class DescriptorStore : public EchoNet {
 protected:
  DescriptorStore() : notify_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    folder.file("notify").copy(name.sun_path, sizeof name.sun_path - 1);
    EXPECT_EQ(bind(notify_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  }

  // As systemd would, with everything that is in the store.
  void start(const std::string& room = "FDSTORE=8", const std::string& config = "") {
    std::string redirections;
    std::string names;
    int next = 3;
    for (const auto& [name, descriptor] : stored) {
      fcntl(descriptor.get(), F_SETFD, 0);
      redirections += " " + std::to_string(next++) + "<&" + std::to_string(descriptor.get());
      names += (names.empty() ? "" : ":") + name;
    }
    std::string command = "exec env LISTEN_PID=$$ LISTEN_FDS=" + std::to_string(stored.size()) +
                          " LISTEN_FDNAMES=" + names + " " + poold_path() + " serve --socket " +
                          socket;
    if (!config.empty()) command += " --config " + folder.write("poold.toml", config);
    poold.emplace(std::vector<std::string>{"bash", "-c", command + redirections},
                  std::vector<std::string>{"NOTIFY_SOCKET=" + folder.file("notify"), room});
    ASSERT_TRUE(eventually([&] { return serves(); })) << poold->err();
  }
  bool serves() {
    listen_to_it();
    try {
      return SegmentReader(socket).view().header().daemon_pid == poold->pid();
    } catch (const std::exception&) {
      return false;
    }
  }
  void listen_to_it() {
    char text[4096];
    pollfd ready{notify_.get(), POLLIN, 0};
    while (poll(&ready, 1, 0) == 1) {
      Received message = receive_with_descriptors(
          notify_.get(), std::as_writable_bytes(std::span(text, sizeof text)));
      std::istringstream lines(std::string(text, message.bytes));
      std::string name;
      bool store = false;
      bool remove = false;
      for (std::string line; std::getline(lines, line);) {
        if (line == "FDSTORE=1") store = true;
        if (line == "FDSTOREREMOVE=1") remove = true;
        if (line.starts_with("FDNAME=")) name = line.substr(7);
      }
      if (remove) stored.erase(name);
      if (!store) continue;
      for (Descriptor& descriptor : message.descriptors) {
        stored.emplace(name, std::move(descriptor));
      }
    }
  }
  int end(int signal) {
    poold->signal(signal);
    const int status = poold->wait();
    listen_to_it();
    return status;
  }

  const TempDir folder;
  const std::string socket = folder.file("socket");
  std::multimap<std::string, Descriptor> stored;
  std::optional<Process> poold;

 private:
  Descriptor notify_;
};

GUEST(echo_and_tell) {
  const SocketAddress destination(arguments.at(0));
  for (;;) {
    await_line();
    for (int i = 0; i < 20; ++i) {
      const int fd = connected_socket(destination);
      CHECK_THAT(fd >= 0);
      CHECK_THAT(echo_round_trip(fd));
      close_with_reset(fd);
    }
    say("done");
  }
}

std::uint64_t by_pool(const SegmentView& view) { return read_report(view).path(Route::pool).count; }

TEST_F(DescriptorStore, TheNextPooldGoesOn) {
  start();
  ASSERT_TRUE(eventually([&] {
    listen_to_it();
    return stored.size() == 2;
  }));
  EXPECT_EQ(stored.count(kStructureName), 1U);
  EXPECT_EQ(stored.count(kHintsName), 1U);
  Process guest = start_guest("echo_and_tell", shim_at(socket, {kBeginAttached}), {kEcho});
  std::string done;
  const auto connect = [&] {
    guest.send_line("");
    done += "done\n";
    guest.wait_for_output(done);
  };
  const SegmentReader kept(socket);
  ASSERT_TRUE(eventually([&] {
    connect();
    return by_pool(kept.view()) > 0;
  }));
  const std::uint64_t attaches = read_report(kept.view()).counter(Counter::k_attaches);
  // Also after a crash: the store does not ask how a service has ended.
  for (const int signal : {SIGTERM, SIGKILL, SIGTERM}) {
    const std::uint64_t so_far = by_pool(kept.view());
    EXPECT_EQ(end(signal), signal == SIGTERM ? 0 : 128 + SIGKILL) << poold->err();
    EXPECT_EQ(kept.view().header().stopped, 0U) << "programs wait for the next one";
    connect();
    start();
    EXPECT_TRUE(eventually([&] {
      connect();
      return by_pool(kept.view()) > so_far + 20;
    })) << poold->err();
  }
  EXPECT_EQ(read_report(kept.view()).counter(Counter::k_attaches), attaches);
  EXPECT_EQ(stored.size(), 2U);
  EXPECT_EQ(guest.err(), "");
  EXPECT_EQ(end(SIGTERM), 0);
}

TEST_F(DescriptorStore, AnotherSegmentTakesItsPlace) {
  start();
  const SegmentReader before(socket);
  EXPECT_EQ(end(SIGTERM), 0);
  start("FDSTORE=8", "max_lanes = 64\n");
  EXPECT_NE(poold->err().find("max_lanes"), std::string::npos) << poold->err();
  const SegmentReader after(socket);
  EXPECT_NE(after.view().header().generation, before.view().header().generation);
  ASSERT_TRUE(eventually([&] {
    listen_to_it();
    return stored.size() == 2;
  }));
  EXPECT_EQ(end(SIGTERM), 0);
  start("FDSTORE=8", "max_lanes = 64\n");
  EXPECT_EQ(SegmentReader(socket).view().header().generation, after.view().header().generation);
  EXPECT_EQ(end(SIGTERM), 0);
}

// Without a store nobody will come for the files: programs are told at once.
TEST_F(DescriptorStore, WithoutRoomNothingIsStored) {
  start("FDSTORE=1");
  EXPECT_TRUE(stored.empty());
  const SegmentReader kept(socket);
  EXPECT_EQ(end(SIGTERM), 0);
  EXPECT_EQ(kept.view().header().stopped, kStopped);
}

}  // namespace
}  // namespace portpool::test
