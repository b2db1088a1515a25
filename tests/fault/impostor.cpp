// An impostor at the daemon's socket: whatever it hands over, the program connects on the kernel's
// path, does not crash, and keeps nothing of it.
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <set>
#include <vector>

#include "base/descriptor_passing.h"
#include "portpool/handover.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

// The hand-over's format, here and nowhere else in this file.

constexpr std::size_t kSize = std::size_t{4} << 20;
// How many descriptors a whole hand-over has.
constexpr std::size_t kWhole = 2;

std::string granted(std::size_t size) {
  HandoverMessage message;
  message.structure_size = message.hints_size = size;
  return {reinterpret_cast<const char*>(&message), sizeof message};
}

std::string refused() {
  HandoverMessage message;
  message.answer = Handover::refused_user;
  return {reinterpret_cast<const char*>(&message), sizeof message};
}

// What an impostor does with those who come.
using Answer = std::function<void(int client)>;

void send_part(int client, const std::string& bytes, const std::vector<int>& fds) {
  send_with_descriptors(client, std::as_bytes(std::span(bytes)), fds);
}

Answer with_descriptors(const std::string& bytes, const std::vector<int>& fds) {
  return [=](int client) {
    send_part(client, bytes, fds);
    close(client);
  };
}

// A child process that does `answer` to each that connects to `path`.
class Impostor {
 public:
  Impostor(const std::string& path, const Answer& answer) {
    const int listener = listen_at(path);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) answer(accept(listener, nullptr, nullptr));
    }
    close(listener);
  }
  ~Impostor() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Impostor(const Impostor&) = delete;
  Impostor& operator=(const Impostor&) = delete;

 private:
  pid_t pid_ = -1;
};

// Connects, and then says which descriptors are open.
GUEST(connect_and_list_descriptors) {
  const SocketAddress destination(arguments.at(0));
  for (int i = 0; i < 10; ++i) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0 && echo_round_trip(fd));
    close_with_reset(fd);
  }
  std::set<int> open;
  DIR* directory = opendir("/proc/self/fd");
  CHECK_THAT(directory != nullptr);
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') open.insert(std::stoi(entry->d_name));
  }
  open.erase(dirfd(directory));
  closedir(directory);
  for (const int fd : open) say(std::to_string(fd));
}

// Whatever shows that the message was looked at.
constexpr FallbackReason kAnyReason = FallbackReason::k_attach_timeout;

class ImpostorTest : public EchoNet {
 protected:
  // Everything is as without the library, for `reason`.
  void expect_native(const Answer& answer, FallbackReason reason) {
    const TempDir directory;
    const std::string path = directory.file("socket");
    const Impostor impostor(path, answer);
    const Arguments arguments{kEcho};
    const GuestResult natively = run_guest("connect_and_list_descriptors", native(), arguments);
    ASSERT_EQ(natively.status, 0) << natively.err;
    // On a busy machine an answer may come too late to be looked at: another attempt.
    std::string reasons;
    EXPECT_TRUE(eventually(
        [&] {
          GuestResult result = run_guest("connect_and_list_descriptors",
                                         shim_at(path, {"PORTPOOL_VERBOSE=1"}), arguments);
          reasons = result.err;
          result.err.clear();
          EXPECT_EQ(result, natively) << reasons;
          return HasFailure() || looked_at(reasons, reason);
        },
        std::chrono::seconds(10)))
        << "the library said: " << reasons << "and not: " << sentence_of(reason);
  }

  static bool looked_at(const std::string& words, FallbackReason reason) {
    if (reason != kAnyReason) return words.find(sentence_of(reason)) != std::string::npos;
    return words.find("portpool: ") != std::string::npos &&
           words.find(sentence_of(FallbackReason::k_attach_timeout)) == std::string::npos;
  }

  // `fd` in the place of each descriptor of a hand-over.
  void expect_invalid(int fd, std::size_t size = kSize) {
    ASSERT_GE(fd, 0) << strerror(errno);
    expect_native(with_descriptors(granted(size), std::vector<int>(kWhole, fd)),
                  FallbackReason::k_segment_invalid);
    close(fd);
  }
};

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

int memory_file(std::size_t size, int seals, unsigned flags = 0) {
  const int fd = memfd_create("impostor", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
  if (fd < 0) return -1;
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(size)), 0);
  EXPECT_TRUE(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
  return fd;
}

// Pages of it that are touched may not be had: SIGBUS, however well it is sealed.
TEST_F(ImpostorTest, HugePagesWithAHole) {
  const int fd = memory_file(kSize, kSeals, MFD_HUGETLB);
  if (fd < 0) GTEST_SKIP() << "no file of huge pages here: " << strerror(errno);
  expect_invalid(fd);
}

TEST_F(ImpostorTest, HugePagesAsTheSecond) {
  const int fd = memory_file(kSize, kSeals, MFD_HUGETLB);
  if (fd < 0) GTEST_SKIP() << "no file of huge pages here: " << strerror(errno);
  const int plain = memory_file(kSize, kSeals);
  expect_native(with_descriptors(granted(kSize), {plain, fd}), kAnyReason);
  expect_native(with_descriptors(granted(kSize), {fd, plain}), kAnyReason);
  close(plain);
  close(fd);
}

TEST_F(ImpostorTest, MemoryThatCouldShrink) {
  expect_invalid(memory_file(kSize, 0));
  expect_invalid(memory_file(kSize, F_SEAL_GROW));
}

TEST_F(ImpostorTest, MemoryOfAnotherSize) {
  expect_invalid(memory_file(0, kSeals));
  expect_invalid(memory_file(4096, kSeals));
  expect_invalid(memory_file(kSize - 4096, kSeals));
  expect_invalid(memory_file(kSize, kSeals), 0);
  expect_invalid(memory_file(kSize, kSeals), 1);
  expect_invalid(memory_file(kSize, kSeals), SIZE_MAX);
}

// All holes, and nothing of it may be written.
TEST_F(ImpostorTest, MemoryThatMayNotBeWritten) {
  expect_invalid(memory_file(kSize, kSeals | F_SEAL_WRITE));
  expect_invalid(memory_file(kSize, kSeals | F_SEAL_FUTURE_WRITE));
}

TEST_F(ImpostorTest, EmptyMemory) { expect_invalid(memory_file(kSize, kSeals)); }

TEST_F(ImpostorTest, FileOnTmpfs) {
  const int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  struct statfs system {};
  if (fd < 0 || fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC) {
    close(fd);
    GTEST_SKIP() << "no tmpfs at /dev/shm";
  }
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(kSize)), 0);
  expect_invalid(fd);
}

TEST_F(ImpostorTest, FileOnDisk) {
  const TempDir directory;
  const int fd = open(directory.path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) GTEST_SKIP() << "no O_TMPFILE there";
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(kSize)), 0);
  expect_invalid(fd);
}

TEST_F(ImpostorTest, WhatIsNoMemory) {
  expect_invalid(open("/dev/zero", O_RDWR | O_CLOEXEC));
  expect_invalid(open("/dev/null", O_RDWR | O_CLOEXEC));
  expect_invalid(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  expect_invalid(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  expect_invalid(open("/", O_PATH | O_CLOEXEC));
  expect_invalid(tcp_socket(AF_INET));
  for (const int end : {0, 1}) {
    int channel[2];
    ASSERT_EQ(pipe2(channel, O_CLOEXEC), 0);
    close(channel[1 - end]);
    expect_invalid(channel[end]);
  }
}

// A memory file that was opened for reading only.
TEST_F(ImpostorTest, MemoryOpenForReadingOnly) {
  const int fd = memory_file(kSize, kSeals);
  const int reader = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
  close(fd);
  expect_native(with_descriptors(granted(kSize), std::vector<int>(kWhole, reader)), kAnyReason);
  close(reader);
}

// No descriptor of any is kept, whatever the message was. 253 is SCM_MAX_FD.
class DescriptorsAreNotKept : public ImpostorTest,
                              public testing::WithParamInterface<std::size_t> {};

TEST_P(DescriptorsAreNotKept, Granted) {
  const int fd = memory_file(kSize, kSeals);
  expect_native(with_descriptors(granted(kSize), std::vector<int>(GetParam(), fd)), kAnyReason);
  close(fd);
}

TEST_P(DescriptorsAreNotKept, Unsealed) {
  const int fd = memory_file(kSize, 0);
  expect_native(with_descriptors(granted(kSize), std::vector<int>(GetParam(), fd)), kAnyReason);
  close(fd);
}

TEST_P(DescriptorsAreNotKept, Refused) {
  const int fd = memory_file(kSize, kSeals);
  expect_native(with_descriptors(refused(), std::vector<int>(GetParam(), fd)),
                FallbackReason::k_attach_refused);
  close(fd);
}

TEST_P(DescriptorsAreNotKept, Garbage) {
  const int fd = memory_file(kSize, kSeals);
  const std::string garbage(granted(kSize).size(), 'x');
  expect_native(with_descriptors(garbage, std::vector<int>(GetParam(), fd)),
                FallbackReason::k_segment_invalid);
  close(fd);
}

// Half a message with descriptors, and the other half with more of them or never.
TEST_P(DescriptorsAreNotKept, InParts) {
  const int fd = memory_file(kSize, kSeals);
  const std::vector<int> fds(GetParam(), fd);
  const std::string message = granted(kSize);
  const TempDir directory;
  for (const bool rest : {false, true}) {
    const std::string path = directory.file(rest ? "both" : "first");
    const Impostor impostor(path, [&](int client) {
      send_part(client, message.substr(0, 5), fds);
      if (rest) send_part(client, message.substr(5), fds);
      close(client);
    });
    const GuestResult natively = run_guest("connect_and_list_descriptors", native(), {kEcho});
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(run_guest("connect_and_list_descriptors", shim_at(path), {kEcho}), natively);
    }
  }
  close(fd);
}

INSTANTIATE_TEST_SUITE_P(Count, DescriptorsAreNotKept, testing::Values(1, 2, 3, 253));

}  // namespace
}  // namespace portpool::test
