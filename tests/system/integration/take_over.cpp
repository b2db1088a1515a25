// Each side of a succession against another that dies, withdraws or is of another kind at each step
// (daemon/take_over.h): the test speaks for the other side.
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <span>

#include "daemon/socket_file.h"
#include "daemon/take_over.h"
#include "kernel/features.h"
#include "kernel/netns.h"
#include "lanes/segment.h"
#include "observe/segment_reader.h"
#include "portpool/handover.h"
#include "system/integration/common.h"
#include "system/integration/take_over_speaker.h"

namespace portpool::test {
namespace {

// ---- the test is the successor ------------------------------------------------------------------

class FakeSuccessor : public PooledNet {
 protected:
  FakeSuccessor() : speaker(connect_to_daemon(poold.socket())) {
    EXPECT_TRUE(speaker.hear_greeting());
  }

  void ask() {
    speaker.say(TakeOverStep::ask);
    ASSERT_TRUE(speaker.hears(TakeOverStep::handed));
    ASSERT_EQ(speaker.handed.size(), kHandedMost);
  }
  // Poold, and nobody else, serves; programs use the pool.
  void expect_as_before() {
    EXPECT_TRUE(eventually([&] {
      return poold.status().at("daemon").at("pid") == poold.process().pid();
    })) << poold.status();
    const auto so_far = pool_connects(poold.status());
    EXPECT_TRUE(eventually([&] {
      EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "20"}), GuestResult{});
      return pool_connects(poold.status()) >= so_far + 20;
    })) << poold.status();
    EXPECT_EQ(Reader().generation(poold), generation);
    EXPECT_TRUE(std::filesystem::exists(poold.socket()));
  }
  struct Reader {
    std::uint64_t generation(const Poold& poold) const {
      return SegmentReader(poold.socket()).view().header().generation;
    }
  };

  Speaker speaker;
  const std::uint64_t generation = Reader().generation(poold);
};

TEST_F(FakeSuccessor, DiesBeforeItIsReady) {
  ask();
  speaker.close();
  expect_as_before();
}

// It had everything for itself: whatever it did, the segment is put right.
TEST_F(FakeSuccessor, DiesAsTheOwner) {
  ask();
  speaker.say(TakeOverStep::ready);
  ASSERT_TRUE(speaker.hears(TakeOverStep::yours));
  std::string why;
  const SegmentReader reader(poold.socket());
  const std::uint32_t lanes = reader.view().lane_count();
  const std::uint32_t shards = reader.view().shard_count();
  auto segment = Segment::adopt(
      {std::move(speaker.handed[kStructureFile]), std::move(speaker.handed[kHintsFile])},
      {lanes, shards}, kernel::current_network_namespace(), why);
  ASSERT_TRUE(segment) << why;
  segment->sign();
  segment->set_control({Mode::observe, Route::kernel, Strategy::port_range});
  segment->set_pool_names(std::vector<std::string>{"half"});
  const StructureWriter writer = segment->writer();
  for (std::uint32_t i = 0; i < reader.view().directory_size(); ++i) {
    if (writer.directory_entry(i).sequence != 0) writer.directory_entry(i).sequence.fetch_sub(1);
  }
  speaker.close();
  expect_as_before();
  EXPECT_EQ(poold.status().at("daemon").at("mode"), "pool");
  EXPECT_EQ(lane_of(poold.status(), kEcho).at("pool"), "default");
}

TEST_F(FakeSuccessor, SaysNothing) {
  ask();
  // Programs are attached meanwhile, and those that are go on.
  EXPECT_EQ(run_guest("echo_often", poold.shim(), {kEcho, "20"}), GuestResult{});
  EXPECT_TRUE(speaker.hears(TakeOverStep::withdrawn));
  speaker.say(TakeOverStep::ready);
  EXPECT_FALSE(speaker.hear()) << "too late";
  expect_as_before();
}

TEST_F(FakeSuccessor, SpeaksAnotherProtocol) {
  TakeOverMessage question;
  question.protocol = TakeOverMessage::kProtocol + 1;
  speaker.say(question);
  EXPECT_TRUE(speaker.hears(TakeOverStep::refused));
  EXPECT_TRUE(speaker.handed.empty());
  expect_as_before();
}

TEST_F(FakeSuccessor, BeginsInTheMiddle) {
  speaker.say(TakeOverStep::ready);
  EXPECT_TRUE(speaker.hears(TakeOverStep::refused));
  expect_as_before();
}

// Who may attach by socket_group is handed the segment to use, not to own.
TEST_F(EchoNet, AMemberOfTheGroupCannotTakeOver) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  const Poold poold("socket_group = \"nogroup\"\n");
  const std::string folder = std::filesystem::path(poold.socket()).parent_path();
  ASSERT_EQ(chmod(folder.c_str(), 0755), 0);
  const gid_t group = getgrnam("nogroup")->gr_gid;
  const pid_t child = fork();
  if (child == 0) {
    if (setgroups(0, nullptr) != 0 || setgid(group) != 0 || setuid(65534) != 0) _exit(2);
    Speaker speaker(connect_to_daemon(poold.socket()));
    if (!speaker.hear_greeting()) _exit(3);
    speaker.say(TakeOverStep::ask);
    _exit(speaker.hear() ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// `poold run` ends with its command; its daemon is nobody's to replace.
TEST_F(EchoNet, TheDaemonOfRunHasNoSuccessor) {
  if (is_sanitized()) GTEST_SKIP() << "a sanitized shim needs the sanitizer's library before it";
  Process run({poold_path(), "run", "--source", "127.0.0.1", "--mode", "pool", "--", "sh", "-c",
               "echo $PORTPOOL_SOCKET; read line"});
  run.wait_for_output("sock");
  const std::string out = run.out();
  Process successor(
      {poold_path(), "serve", "--take-over", "--socket", out.substr(0, out.find('\n'))});
  EXPECT_EQ(successor.wait(), 2);
  EXPECT_NE(successor.err().find("poold run"), std::string::npos) << successor.err();
  run.send_line("");
  EXPECT_EQ(run.wait(), 0) << run.err();
}

// ---- the test is the predecessor ----------------------------------------------------------------

// As a poold without `config` would choose.
Strategy strategy_here() {
  return kernel::probe_features().local_port_range ? Strategy::port_range : Strategy::bind;
}

SegmentSize usual_size() {
  const long cpus = sysconf(_SC_NPROCESSORS_CONF);
  return {1024, static_cast<std::uint32_t>(std::clamp(cpus, 1L, 128L))};
}

class FakePredecessor : public EchoNet {
 protected:
  FakePredecessor()
      : segment(usual_size(), kernel::current_network_namespace()),
        file(SocketFile::make(folder.file("socket"))) {
    segment.publish();
    segment.set_control({Mode::pool, Route::pool, strategy_here()});
    segment.header().daemon_pid = 1;
    successor.emplace(std::vector<std::string>{poold_path(), "serve", "--take-over", "--socket",
                                               folder.file("socket")});
    pollfd ready{file.fd(), POLLIN, 0};
    EXPECT_EQ(poll(&ready, 1, 60'000), 1);
    speaker.emplace(Descriptor(accept4(file.fd(), nullptr, nullptr, SOCK_CLOEXEC)));
    speaker->greet({});
    EXPECT_TRUE(speaker->hears(TakeOverStep::ask));
  }

  void hand_over(std::uint16_t layout_major = kLayoutMajor) {
    TakeOverMessage handed;
    handed.step = TakeOverStep::handed;
    handed.layout_major = layout_major;
    handed.structure_size = segment.structure_size();
    handed.hints_size = segment.hints_size();
    speaker->say(handed,
                 {segment.writable_structure_fd(), segment.hints_fd(), file.fd(), file.lock_fd()});
  }
  // As its end would.
  void leave() {
    const SocketFile::Handles closed = file.give_up();
    speaker->close();
  }
  void expect_serves(bool same_segment) {
    std::optional<SegmentReader> reader;
    ASSERT_TRUE(eventually([&] {
      if (!successor->running()) return true;
      try {
        reader.emplace(folder.file("socket"));
        return reader->view().header().daemon_pid == successor->pid();
      } catch (const std::exception&) {
        return false;
      }
    }));
    ASSERT_TRUE(successor->running()) << successor->err();
    EXPECT_EQ(reader->view().header().generation == segment.header().generation, same_segment);
    EXPECT_EQ(segment.header().daemon_pid == 1, !same_segment);
    EXPECT_EQ(
        run_guest("echo_often", shim_at(folder.file("socket"), {kBeginAttached}), {kEcho, "20"}),
        GuestResult{});
    successor->signal(SIGTERM);
    EXPECT_EQ(successor->wait(), 0) << successor->err();
    EXPECT_FALSE(std::filesystem::exists(folder.file("socket")));
    EXPECT_FALSE(std::filesystem::exists(folder.file("socket.lock")));
  }

  const TempDir folder;
  Segment segment;
  SocketFile file;
  std::optional<Process> successor;
  std::optional<Speaker> speaker;
};

TEST_F(FakePredecessor, HandsAnotherLayout) {
  hand_over(kLayoutMajor + 1);
  ASSERT_TRUE(speaker->hears(TakeOverStep::ready));
  speaker->say(TakeOverStep::yours);
  const auto running = speaker->hear();
  ASSERT_TRUE(running && running->step == TakeOverStep::running);
  EXPECT_EQ(running->value, 0U) << "with files of its own";
  speaker->say(TakeOverStep::clients);
  leave();
  // The log has a thread of its own.
  const std::string layout =
      "layout " + std::to_string(kLayoutMajor + 1) + "." + std::to_string(kLayoutMinor);
  EXPECT_TRUE(eventually([&] { return successor->err().find(layout) != std::string::npos; }))
      << successor->err();
  expect_serves(false);
}

TEST_F(FakePredecessor, DiesBeforeItHandsOver) {
  leave();
  expect_serves(false);
}

TEST_F(FakePredecessor, DiesAfterItHasHandedOver) {
  hand_over();
  leave();
  expect_serves(true);
}

TEST_F(FakePredecessor, DiesBeforeItsLastWord) {
  hand_over();
  ASSERT_TRUE(speaker->hears(TakeOverStep::ready));
  speaker->say(TakeOverStep::yours);
  const auto running = speaker->hear();
  ASSERT_TRUE(running && running->step == TakeOverStep::running);
  EXPECT_EQ(running->value, 1U);
  leave();
  expect_serves(true);
}

TEST_F(FakePredecessor, Withdraws) {
  hand_over();
  ASSERT_TRUE(speaker->hears(TakeOverStep::ready));
  EXPECT_EQ(segment.header().daemon_pid, 1) << "nothing is written before it is its own";
  speaker->say(TakeOverStep::withdrawn);
  EXPECT_EQ(successor->wait(), 2);
  EXPECT_NE(successor->err().find("goes on"), std::string::npos) << successor->err();
  EXPECT_EQ(segment.header().daemon_pid, 1);
  EXPECT_TRUE(std::filesystem::exists(folder.file("socket")));
  EXPECT_TRUE(std::filesystem::exists(folder.file("socket.lock")));
}

TEST_F(FakePredecessor, Refuses) {
  speaker->say(TakeOverStep::refused);
  EXPECT_EQ(successor->wait(), 2);
  EXPECT_NE(successor->err().find("hands nothing over"), std::string::npos) << successor->err();
}

// The files would be somebody's who could change them at any time.
TEST_F(EchoNet, NobodyTakesOverFromAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  const TempDir folder;
  ASSERT_EQ(chmod(folder.path().c_str(), 0777), 0);
  ASSERT_EQ(seteuid(65534), 0);
  const SocketFile file = SocketFile::make(folder.file("socket"));
  ASSERT_EQ(seteuid(0), 0);
  Process successor({poold_path(), "serve", "--take-over", "--socket", folder.file("socket")});
  EXPECT_EQ(successor.wait(), 2);
  EXPECT_NE(successor.err().find("belongs to user 65534"), std::string::npos) << successor.err();
}

}  // namespace
}  // namespace portpool::test
