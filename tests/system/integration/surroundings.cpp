// Programs in unusual surroundings: other libraries, limits, filters, rights given away, and the
// many ways to become another process. Each behaves as natively; the pool serves where it can.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>

#include "portpool/system_call.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

const char* const kFaketime = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

void connect_often(const SocketAddress& destination, int count) {
  for (int i = 0; i < count; ++i) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0);
    CHECK_THAT(echo_round_trip(fd));
    CHECK_THAT(close(fd) == 0);
  }
}

class Surroundings : public PooledNet {
 protected:
  // Runs the guest natively and under the shim: the same outcome; then `by_pool` connects had a
  // port from the pool, and `by_kernel` had none because of `reason`.
  void compare(const std::string& guest, const Under& under, const Arguments& arguments,
               std::uint64_t by_pool, std::uint64_t by_kernel = 0, const std::string& reason = "") {
    const GuestResult natively = run_guest(guest, native(), arguments);
    ASSERT_EQ(natively.status, 0) << natively.err;
    const nlohmann::json before = poold.status();
    EXPECT_EQ(run_guest(guest, under, arguments), natively);
    const nlohmann::json after = poold.status();
    EXPECT_EQ(pool_connects(after) - pool_connects(before), by_pool) << after.dump(2);
    EXPECT_EQ(kernel_connects(after) - kernel_connects(before), by_kernel) << after.dump(2);
    if (!reason.empty()) {
      EXPECT_EQ(fallbacks(after, reason) - fallbacks(before, reason), by_kernel);
    }
  }
};

// ---- becoming another process -------------------------------------------------------------------

GUEST(vforks_and_spawns) {
  const SocketAddress destination(arguments.at(0));
  const int kept = connected_socket(destination);
  const int closed_by_child = connected_socket(destination);
  CHECK_THAT(kept >= 0 && closed_by_child >= 0);
  // What a child of vfork() may do is little, but programs close descriptors there.
  const pid_t quick = vfork();
  if (quick == 0) {
    close(closed_by_child);
    _exit(5);
  }
  int status = 0;
  CHECK_THAT(waitpid(quick, &status, 0) == quick && WEXITSTATUS(status) == 5);
  CHECK_THAT(echo_round_trip(closed_by_child) && echo_round_trip(kept));
  std::vector<std::string> words = guest_command("echo_often", {arguments.at(0), "50"});
  std::vector<char*> command;
  for (std::string& word : words) command.push_back(word.data());
  command.push_back(nullptr);
  pid_t spawned = 0;
  CHECK_THAT(posix_spawn(&spawned, command[0], nullptr, nullptr, command.data(), environ) == 0);
  connect_often(destination, 50);
  CHECK_THAT(waitpid(spawned, &status, 0) == spawned && status == 0);
  CHECK_THAT(echo_round_trip(kept) && close(kept) == 0 && close(closed_by_child) == 0);
}

TEST_F(Surroundings, VforkAndSpawn) { compare("vforks_and_spawns", poold.shim(), {kEcho}, 102); }

// As daemon(3) and older programs do it: everything closed, by whatever number.
GUEST(becomes_a_daemon) {
  const SocketAddress destination(arguments.at(0));
  connect_often(destination, 5);
  int done[2];
  CHECK_THAT(pipe(done) == 0);
  const pid_t child = fork();
  CHECK_THAT(child >= 0);
  if (child == 0) {
    setsid();
    if (fork() != 0) _exit(0);
    for (int fd = 0; fd < 1024; ++fd) {
      if (fd != done[1]) close(fd);
    }
    for (int fd = 0; fd < 3; ++fd) open("/dev/null", O_RDWR);
    for (int i = 0; i < 100; ++i) {
      const int fd = connected_socket(destination);
      if (fd < 0 || !echo_round_trip(fd) || close(fd) != 0) _exit(1);
    }
    (void)!write(done[1], "ok", 2);
    _exit(0);
  }
  CHECK_THAT(waitpid(child, nullptr, 0) == child);
  close(done[1]);
  char answer[2] = {};
  CHECK_THAT(read(done[0], answer, sizeof answer) == 2);
}

TEST_F(Surroundings, DaemonThatClosesEverything) {
  compare("becomes_a_daemon", poold.shim(), {kEcho}, 105);
}

GUEST(gives_rights_away) {
  const SocketAddress destination(arguments.at(0));
  CHECK_THAT(chroot(arguments.at(1).c_str()) == 0 && chdir("/") == 0);
  CHECK_THAT(setgid(65534) == 0 && setuid(65534) == 0);
  connect_often(destination, 100);
}

TEST_F(Surroundings, ChrootAndAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may chroot";
  const TempDir empty;
  compare("gives_rights_away", poold.shim(), {kEcho, empty.path()}, 100);
}

// ---- threads and signals ------------------------------------------------------------------------

void* connects_for_ever(void* destination) {
  const int fd = tcp_socket(AF_INET);
  int old = 0;
  pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &old);
  connect_error(fd, *static_cast<SocketAddress*>(destination));
  return nullptr;
}

// Threads that hang in connect() are cancelled there.
GUEST(cancels_threads) {
  SocketAddress silent("127.0.0.1:9100");
  const int listener = tcp_socket(AF_INET);
  CHECK_THAT(bind_error(listener, silent) == 0 && listen(listener, 0) == 0);
  const int taken = connected_socket(silent);  // the queue is full now
  CHECK_THAT(taken >= 0);
  pthread_t threads[8];
  for (pthread_t& thread : threads) {
    CHECK_THAT(pthread_create(&thread, nullptr, connects_for_ever, &silent) == 0);
  }
  usleep(50'000);
  for (pthread_t& thread : threads) CHECK_THAT(pthread_cancel(thread) == 0);
  for (pthread_t& thread : threads) {
    void* result = nullptr;
    CHECK_THAT(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
  }
  connect_often(SocketAddress(arguments.at(0)), 100);
}

TEST_F(Surroundings, ThreadsCancelledInConnect) {
  const GuestResult natively = run_guest("cancels_threads", native(), {kEcho});
  ASSERT_EQ(natively.status, 0) << natively.err;
  const nlohmann::json before = poold.status();
  EXPECT_EQ(run_guest("cancels_threads", poold.shim(), {kEcho}), natively);
  EXPECT_GE(pool_connects(poold.status()) - pool_connects(before), 100U);
  // Nothing that the cancelled ones had claimed stays away.
  EXPECT_TRUE(poold.eventually_status([](const nlohmann::json& now) {
    const nlohmann::json lane = lane_of(now, "127.0.0.1:9100");
    return lane.is_null() || lane.at("in_use") == 0;
  })) << poold.status().dump(2);
}

const SocketAddress* handler_destination;
volatile sig_atomic_t handler_connects;

void connect_in_handler(int) {
  const int saved = errno;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd >= 0 && connect(fd, handler_destination->raw(), handler_destination->length) == 0) {
    handler_connects = handler_connects + 1;
  }
  if (fd >= 0) close_with_reset(fd);  // so many in TIME_WAIT would use up the ports
  errno = saved;
}

GUEST(connects_in_handlers) {
  const SocketAddress destination(arguments.at(0));
  handler_destination = &destination;
  struct sigaction action {};
  action.sa_handler = connect_in_handler;
  action.sa_flags = SA_RESTART;
  CHECK_THAT(sigaction(SIGALRM, &action, nullptr) == 0);
  const itimerval often{{0, 300}, {0, 300}};
  CHECK_THAT(setitimer(ITIMER_REAL, &often, nullptr) == 0);
  while (handler_connects < 300) {
    const int fd = tcp_socket(AF_INET);
    // Interrupted, the connection goes on being made (connect(2)).
    const int error = connect_error(fd, destination);
    CHECK_THAT(error == 0 || error == EINTR);
    close_with_reset(fd);
  }
}

TEST_F(Surroundings, SignalHandlersThatConnect) {
  const GuestResult natively = run_guest("connects_in_handlers", native(), {kEcho});
  ASSERT_EQ(natively.status, 0) << natively.err;
  const nlohmann::json before = poold.status();
  EXPECT_EQ(run_guest("connects_in_handlers", poold.shim(), {kEcho}), natively);
  EXPECT_GE(pool_connects(poold.status()) - pool_connects(before), 300U);
}

// ---- other libraries ----------------------------------------------------------------------------

GUEST(loads_a_library) {
  const SocketAddress destination(arguments.at(0));
  void* library = dlopen(arguments.at(1).c_str(), RTLD_NOW | RTLD_LOCAL);
  CHECK_THAT(library != nullptr);
  using OpenConnection = int (*)(const sockaddr*, socklen_t);
  const auto open_connection = reinterpret_cast<OpenConnection>(dlsym(library, "open_connection"));
  CHECK_THAT(open_connection != nullptr);
  for (int i = 0; i < 100; ++i) {
    const int fd = open_connection(destination.raw(), destination.length);
    CHECK_THAT(fd >= 0 && echo_round_trip(fd) && close(fd) == 0);
  }
  CHECK_THAT(dlclose(library) == 0);
}

TEST_F(Surroundings, LibraryLoadedLater) {
  compare("loads_a_library", poold.shim(), {kEcho, PORTPOOL_CONNECTING_LIBRARY}, 100);
}

TEST_F(Surroundings, AnotherPreloadedLibraryBeforeAndAfter) {
  const std::string other = PORTPOOL_COUNTING_LIBRARY;
  for (const std::string& order : {shim_path() + ":" + other, other + ":" + shim_path()}) {
    const nlohmann::json before = poold.status();
    const GuestResult result =
        run_guest("echo_often", poold.shim({"LD_PRELOAD=" + order}), {kEcho, "100"});
    EXPECT_EQ(result, (GuestResult{0, "counted 100\n", ""})) << order;
    EXPECT_EQ(pool_connects(poold.status()) - pool_connects(before), 100U) << order;
  }
}

// A library that has syscall() to itself, in both orders: ours makes its system calls past it.
TEST_F(Surroundings, AnotherPreloadedLibraryThatOwnsSyscall) {
  const std::string other = PORTPOOL_OWNING_SYSCALL_LIBRARY;
  for (const std::string& order : {shim_path() + ":" + other, other + ":" + shim_path()}) {
    const nlohmann::json before = poold.status();
    EXPECT_EQ(run_guest("echo_often", poold.shim({"LD_PRELOAD=" + order}), {kEcho, "100"}),
              GuestResult{})
        << order;
    EXPECT_EQ(pool_connects(poold.status()) - pool_connects(before), 100U) << order;
  }
}

TEST_F(Surroundings, FaketimeBeforeAndAfter) {
  if (!std::filesystem::exists(kFaketime)) GTEST_SKIP() << "no libfaketime here";
  for (const std::string& order :
       {shim_path() + ":" + kFaketime, kFaketime + (":" + shim_path())}) {
    const nlohmann::json before = poold.status();
    const GuestResult result = run_guest(
        "echo_often", poold.shim({"LD_PRELOAD=" + order, "FAKETIME=-15d"}), {kEcho, "100"});
    EXPECT_EQ(result, GuestResult{}) << order;
    EXPECT_EQ(pool_connects(poold.status()) - pool_connects(before), 100U) << order;
    // A clock that runs a thousand times faster makes any heartbeat look slow: it must only work.
    EXPECT_EQ(run_guest("echo_often",
                        shim_at(poold.socket(), {"LD_PRELOAD=" + order, "FAKETIME=+0 x1000"}),
                        {kEcho, "100"}),
              GuestResult{})
        << order;
  }
}

// ---- limits and filters -------------------------------------------------------------------------

GUEST(fills_its_descriptor_table) {
  const SocketAddress destination(arguments.at(0));
  const rlimit few{64, 64};
  CHECK_THAT(setrlimit(RLIMIT_NOFILE, &few) == 0);
  std::vector<int> fds;
  for (int fd = 0; (fd = dup(0)) >= 0;) fds.push_back(fd);
  CHECK_THAT(errno == EMFILE && connected_socket(destination) < 0 && errno == EMFILE);
  close(fds.back());
  connect_often(destination, 100);
}

TEST_F(Surroundings, FullDescriptorTable) {
  compare("fills_its_descriptor_table", poold.shim(), {kEcho}, 100);
}

// Sets a limit and becomes `echo_often`, whose library then has to start within it.
GUEST(starts_within_limit) {
  close_range(3, ~0U, 0);
  const bool memory = arguments.at(1) == "memory";
  const rlim_t value = std::stoul(arguments.at(2));
  const rlimit limit{value, value};
  CHECK_THAT(setrlimit(memory ? RLIMIT_AS : RLIMIT_NOFILE, &limit) == 0);
  become_guest("echo_often", {arguments.at(0), "100"});
}

// No descriptor for the segment: the kernel's path, with the reason. The guest does not begin
// attached.
TEST_F(Surroundings, TooFewDescriptors) {
  const Arguments arguments{kEcho, "files", "4"};
  const nlohmann::json before = poold.status();
  EXPECT_EQ(run_guest("starts_within_limit", shim_at(poold.socket()), arguments), GuestResult{});
  EXPECT_EQ(poold.status().at("connects"), before.at("connects"));
  const GuestResult verbose =
      run_guest("starts_within_limit", shim_at(poold.socket(), {"PORTPOOL_VERBOSE=1"}), arguments);
  EXPECT_EQ(verbose.status, 0);
  EXPECT_NE(verbose.err.find(sentence_of(FallbackReason::k_attach_failed)), std::string::npos)
      << verbose.err;
}

// Once: an address space that had no room for all of poold's lanes was too small for any.
TEST_F(Surroundings, LittleMemoryIsEnoughForOneLane) {
  const Arguments arguments{kEcho, "memory", "60000000"};
  const std::uint64_t before = pool_connects(poold.status());
  EXPECT_EQ(run_guest("starts_within_limit", poold.shim(), arguments), GuestResult{});
  EXPECT_EQ(pool_connects(poold.status()) - before, 100U);
}

// From now on each of `calls` gives EPERM; a setsockopt only at level IPPROTO_IP.
void forbid(const std::vector<unsigned>& calls) {
  std::vector<sock_filter> filter{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (const unsigned number : calls) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0,
                              static_cast<std::uint8_t>(number == SYS_setsockopt ? 4 : 1)));
    if (number == SYS_setsockopt) {
      filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])));
      filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_IP, 0, 1));
    }
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
    if (number == SYS_setsockopt) {
      filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  CHECK_THAT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  // Past the library, which otherwise leaves everything to the kernel from then on.
  CHECK_THAT(system_call(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
}

GUEST(forbids_calls) {
  std::vector<unsigned> calls;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    calls.push_back(static_cast<unsigned>(std::stoul(arguments[i])));
  }
  forbid(calls);
  connect_often(SocketAddress(arguments.at(0)), 100);
}

TEST_F(Surroundings, FilterThatForbidsThePin) {
  // Whichever of the two the strategy uses.
  compare("forbids_calls", poold.shim(),
          {kEcho, std::to_string(SYS_setsockopt), std::to_string(SYS_bind)}, 0, 100, "pin_failed");
}

TEST_F(Surroundings, FilterThatForbidsLookingAndWaking) {
  compare(
      "forbids_calls", poold.shim(),
      {kEcho, std::to_string(SYS_ppoll), std::to_string(SYS_getsockopt), std::to_string(SYS_futex)},
      100);
}

GUEST(starts_under_filter) {
  forbid({static_cast<unsigned>(std::stoul(arguments.at(1)))});
  become_guest("echo_often", {arguments.at(0), "100"});
}

TEST_F(Surroundings, FilterThatForbidsAttaching) {
  const nlohmann::json before = poold.status();
  for (const long number : {SYS_recvmsg, SYS_ppoll, SYS_getrandom}) {
    const GuestResult result =
        run_guest("starts_under_filter", shim_at(poold.socket()), {kEcho, std::to_string(number)});
    EXPECT_EQ(result, GuestResult{}) << number;
  }
  EXPECT_LE(pool_connects(poold.status()) - pool_connects(before), 100U);
}

}  // namespace
}  // namespace portpool::test
