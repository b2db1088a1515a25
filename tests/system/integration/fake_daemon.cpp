// Something else than poold answers on the socket: the shim takes nothing on trust.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <new>
#include <vector>

#include "base/descriptor.h"
#include "base/descriptor_passing.h"
#include "portpool/handover.h"
#include "portpool/hints.h"
#include "portpool/linux.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

// A child process that accepts connections on `path` and does `answer` to each.
class FakeDaemon {
 public:
  FakeDaemon(const std::string& path, const std::function<void(int client)>& answer) {
    const Descriptor listener(listen_at(path));
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) answer(accept(listener.get(), nullptr, nullptr));
    }
  }
  ~FakeDaemon() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

 private:
  pid_t pid_ = -1;
};

// Sends `message` with these descriptors, and ends the connection.
void hand_over(int client, const HandoverMessage& message, const std::vector<int>& fds) {
  send_with_descriptors(client, std::as_bytes(std::span(&message, 1)), fds);
  close(client);
}

constexpr std::size_t kSegmentSize = std::size_t{4} << 20;

int memory_file(std::size_t size) {
  const int fd = memfd_create("fake", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(size)), 0);
  return fd;
}

int seal(int fd) {
  EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  return fd;
}

Section section(std::uint64_t offset, std::size_t stride, std::uint32_t count) {
  return {offset, static_cast<std::uint32_t>(stride), count};
}

// A structure that the shim would accept, in a sealed file; `damage` is done to it before.
int structure_file(const std::function<void(StructureHeader&)>& damage) {
  const int fd = memory_file(kSegmentSize);
  void* memory = mmap(nullptr, kSegmentSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  auto* header = static_cast<StructureHeader*>(memory);
  header->layout_major = kLayoutMajor;
  header->layout_minor = kLayoutMinor;
  header->header_size = sizeof(StructureHeader);
  header->structure_size = header->hints_size = kSegmentSize;
  header->generation = 1;
  socklen_t length = sizeof header->netns_cookie;
  const Descriptor socket_here(tcp_socket(AF_INET));
  getsockopt(socket_here.get(), SOL_SOCKET, SO_NETNS_COOKIE, &header->netns_cookie, &length);
  header->directory = section(4096, sizeof(DirectoryEntry), 64);
  header->lane_infos = section(32768, sizeof(LaneInfo), 4);
  header->pools = section(65536, sizeof(PoolInfo), 1);
  header->requests = section(4096, sizeof(RequestSlot), 16);
  header->shards = section(32768, sizeof(Shard), 1);
  header->lane_hints = section(131072, sizeof(LaneHints), 4);
  header->trace = section(1 << 20, sizeof(TraceEntry), 16);
  header->magic.store(kMagic);
  damage(*header);
  munmap(memory, kSegmentSize);
  return seal(fd);
}

HandoverMessage granted(std::uint64_t size = kSegmentSize) {
  HandoverMessage message;
  message.structure_size = message.hints_size = size;
  return message;
}

class FakeDaemonTest : public EchoNet {
 protected:
  // With that answer, everything works, and for `reason` (in words) without the pool.
  void expect_native(FallbackReason reason, const std::function<void(int)>& answer) {
    const TempDir directory;
    const std::string path = directory.file("socket");
    const FakeDaemon fake(path, answer);
    EXPECT_EQ(run_guest("echo_often", shim_at(path), {kEcho, "20"}), GuestResult{});
    // On a busy machine an answer may come too late to be looked at: another attempt.
    GuestResult verbose;
    EXPECT_TRUE(eventually([&] {
      verbose = run_guest("echo_often", shim_at(path, {"PORTPOOL_VERBOSE=1"}), {kEcho, "20"});
      return verbose.status != 0 || verbose.err.find(sentence_of(reason)) != std::string::npos;
    })) << verbose.err;
    EXPECT_EQ(verbose.status, 0) << verbose.err;
  }

  void expect_native_with_file(FallbackReason reason, int fd,
                               const HandoverMessage& message = granted()) {
    const Descriptor hints(seal(memory_file(kSegmentSize)));
    const std::vector<int> both{fd, hints.get()};
    expect_native(reason, [&](int client) { hand_over(client, message, both); });
    close(fd);
  }
};

void write_and_close(int client, const std::string& bytes) {
  send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  close(client);
}

TEST_F(FakeDaemonTest, SaysNothing) {
  expect_native(FallbackReason::k_attach_timeout, [](int) {});
}

TEST_F(FakeDaemonTest, HangsUp) {
  expect_native(FallbackReason::k_attach_timeout, [](int client) { close(client); });
}

TEST_F(FakeDaemonTest, SaysTooLittle) {
  expect_native(FallbackReason::k_attach_timeout,
                [](int client) { write_and_close(client, "PRTPOOL"); });
}

TEST_F(FakeDaemonTest, SpeaksGarbage) {
  for (const char byte : {'\0', 'x', '\xFF'}) {
    expect_native(FallbackReason::k_segment_invalid, [=](int client) {
      write_and_close(client, std::string(sizeof(HandoverMessage), byte));
    });
    expect_native(FallbackReason::k_segment_invalid,
                  [=](int client) { write_and_close(client, std::string(100'000, byte)); });
  }
}

TEST_F(FakeDaemonTest, HasAnotherLayout) {
  HandoverMessage message = granted();
  message.layout_major = kLayoutMajor + 1;
  expect_native_with_file(FallbackReason::k_layout_mismatch, structure_file([](auto&) {}), message);
  expect_native_with_file(
      FallbackReason::k_layout_mismatch,
      structure_file([](StructureHeader& header) { header.layout_major = kLayoutMajor + 1; }));
}

TEST_F(FakeDaemonTest, Refuses) {
  HandoverMessage message = granted();
  message.answer = Handover::refused_user;
  expect_native(FallbackReason::k_attach_refused,
                [=](int client) { hand_over(client, message, {}); });
  message.answer = Handover::refused_netns;
  expect_native(FallbackReason::k_other_netns, [=](int client) { hand_over(client, message, {}); });
  message.answer = static_cast<Handover>(12345);
  expect_native(FallbackReason::k_attach_refused,
                [=](int client) { hand_over(client, message, {}); });
}

TEST_F(FakeDaemonTest, GrantsNothing) {
  expect_native(FallbackReason::k_segment_invalid,
                [](int client) { hand_over(client, granted(), {}); });
}

TEST_F(FakeDaemonTest, HandsOverSomethingElse) {
  int channel[2];
  ASSERT_EQ(pipe2(channel, O_CLOEXEC), 0);
  expect_native_with_file(FallbackReason::k_segment_invalid, channel[0]);
  expect_native_with_file(FallbackReason::k_segment_invalid, channel[1]);
}

TEST_F(FakeDaemonTest, TruncatedSegment) {
  expect_native_with_file(FallbackReason::k_segment_invalid, seal(memory_file(4096)));
  expect_native_with_file(FallbackReason::k_segment_invalid, seal(memory_file(0)), granted(0));
  expect_native_with_file(FallbackReason::k_segment_invalid, seal(memory_file(100)), granted(100));
  for (const std::uint64_t size : {std::uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 4095}) {
    expect_native_with_file(FallbackReason::k_segment_invalid, structure_file([](auto&) {}),
                            granted(size));
  }
}

TEST_F(FakeDaemonTest, SegmentThatCouldShrink) {
  expect_native_with_file(FallbackReason::k_segment_invalid, memory_file(kSegmentSize));
}

TEST_F(FakeDaemonTest, DamagedHeaders) {
  const std::vector<std::function<void(StructureHeader&)>> damages{
      [](StructureHeader& h) { h.magic.store(0); },
      [](StructureHeader& h) { h.magic.store(kMagic + 1); },
      [](StructureHeader& h) { h.lane_hints.offset = kSegmentSize; },
      [](StructureHeader& h) { h.lane_hints.offset = UINT64_MAX - 63; },
      [](StructureHeader& h) { h.lane_hints.count = UINT32_MAX; },
      [](StructureHeader& h) { h.lane_hints.count = 0; },
      [](StructureHeader& h) { h.lane_hints.stride = 64; },
      [](StructureHeader& h) { h.lane_infos.count = 3; },
      [](StructureHeader& h) { h.trace = {}; },
      [](StructureHeader& h) { h.directory.offset = 0; },
      [](StructureHeader& h) { h.directory.offset = 4097; },
      [](StructureHeader& h) { h.requests.count = 1U << 30; },
      [](StructureHeader& h) { h.shards.stride = 0; },
      [](StructureHeader& h) { h.pools.offset = kSegmentSize - 1; },
  };
  for (std::size_t i = 0; i < damages.size(); ++i) {
    SCOPED_TRACE("damage " + std::to_string(i));
    expect_native_with_file(FallbackReason::k_segment_invalid, structure_file(damages[i]));
  }
}

TEST_F(FakeDaemonTest, SegmentOfAnotherNamespace) {
  expect_native_with_file(FallbackReason::k_other_netns,
                          structure_file([](StructureHeader& h) { h.netns_cookie += 1; }));
}

// What it says of itself is shown to whoever asks, root perhaps.
TEST_F(FakeDaemonTest, NamesItselfWildly) {
  const std::vector<std::pair<std::string, std::string>> versions{
      {"1\033[2J\xC2\x9B\"\\\n$(x)", "1?[2J?\"\\?$(x)"}, {"1\xFF", "(damaged)"}};
  for (const auto& entry : versions) {
    const std::string& shown = entry.second;
    const Descriptor structure(structure_file([&entry](StructureHeader& header) {
      entry.first.copy(header.daemon_version, sizeof header.daemon_version - 1);
      header.stopped.store(1);
    }));
    const Descriptor hints(seal(memory_file(kSegmentSize)));
    const TempDir directory;
    const std::string path = directory.file("socket");
    const FakeDaemon fake(path, [&](int client) {
      hand_over(client, granted(), {structure.get(), hints.get()});
    });
    for (const char* command : {"status", "top"}) {
      Process process({poold_path(), command, "--socket", path});
      EXPECT_EQ(process.wait(), 1) << process.err();
      EXPECT_TRUE(process.out().find("\npoold " + shown + " (pid") != std::string::npos)
          << process.out();
      EXPECT_EQ(process.out().find('\033'), std::string::npos);
    }
    Process process({poold_path(), "status", "--json", "--socket", path});
    EXPECT_EQ(process.wait(), 1) << process.err();
    EXPECT_EQ(process.out().find('\033'), std::string::npos);
    EXPECT_EQ(nlohmann::json::parse(process.out()).at("daemon").at("version"),
              shown == "(damaged)" ? shown : entry.first);
  }
}

// Accepted, and then full of nonsense: every word of both files is random.
TEST_F(FakeDaemonTest, ScribbledSegment) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    const Descriptor structure(structure_file([seed](StructureHeader& header) {
      std::srand(seed);
      auto* bytes = reinterpret_cast<unsigned char*>(&header);
      const std::size_t start = offsetof(StructureHeader, heartbeat);
      for (std::size_t i = start; i < kSegmentSize; ++i) {
        bytes[i] = static_cast<unsigned char>(std::rand());
      }
      header.stopped.store(0);
      header.control.store(0);
    }));
    const Descriptor hints(memory_file(kSegmentSize));
    std::vector<int> noise(kSegmentSize / sizeof(int));
    for (int& word : noise) word = std::rand();
    ASSERT_EQ(write(hints.get(), noise.data(), kSegmentSize), static_cast<ssize_t>(kSegmentSize));
    seal(hints.get());
    const TempDir directory;
    const std::string path = directory.file("socket");
    const FakeDaemon fake(path, [&](int client) {
      hand_over(client, granted(), {structure.get(), hints.get()});
    });
    EXPECT_EQ(run_guest("echo_often", shim_at(path), {kEcho, "200"}), GuestResult{});
  }
}

}  // namespace
}  // namespace portpool::test
