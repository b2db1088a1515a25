// filtered_program prctl|seccomp|syscall_prctl|thread|exec PORT [CALL...]: a small program that
// puts itself under a seccomp filter which ends it (SECCOMP_RET_KILL_PROCESS) at any system call
// that it does not make itself.
//
// Before the filter it connects to PORT on 127.0.0.1, has a socket that is not connected yet, and
// one that is bound to a port of the kernel's choice. After it each is used and closed, and another
// one made; it says "ready" and does so once more for each line that it is sent. How the filter
// comes: by prctl(), by syscall(SYS_seccomp) or syscall(SYS_prctl), by another thread for all of
// them, or before an exec() of itself, and then with the CALLs allowed besides. Exit status 0, or
// the line of the step that failed.
//
// Uses nothing of the C++ library, whose calls nobody could list.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U  // Linux 4.14
#endif

#define REQUIRE(condition)             \
  do {                                 \
    if (!(condition)) _exit(__LINE__); \
  } while (false)

static sockaddr_in address;

static int go[2];     // a pipe: the thread may begin
static int begun[2];  // a pipe: its filter is there

// What main() calls below, and what ends a process or returns from a signal.
static const long kOwnCalls[] = {SYS_read,  SYS_write,       SYS_socket, SYS_connect,
                                 SYS_close, SYS_getsockname, SYS_exit,   SYS_exit_group};

// What a dynamic program of the C library's calls before main(), and this one before the filter.
static const long kCallsOfTheStart[] = {
    SYS_execve,
    SYS_brk,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_openat,
    SYS_fstat,
    SYS_newfstatat,
    SYS_pread64,
    SYS_prlimit64,
    SYS_readlinkat,
    SYS_set_tid_address,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_getrandom,
    SYS_faccessat,
    SYS_bind,
    SYS_pipe2,
#ifdef SYS_arch_prctl
    SYS_arch_prctl,
    SYS_access,
    SYS_readlink,
    SYS_pipe,
#endif
};

struct Filter {
  sock_filter steps[200];
  unsigned short count;
};

static void add(Filter* filter, sock_filter step) { filter->steps[filter->count++] = step; }

static void allow(Filter* filter, long number) {
  add(filter, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1));
  add(filter, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

static sock_fprog program_of(Filter* filter) {
  add(filter, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  return {filter->count, filter->steps};
}

static void begin(Filter* filter) {
  add(filter, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  for (const long number : kOwnCalls) allow(filter, number);
}

static void install(const char* way, unsigned flags) {
  Filter filter{};
  begin(&filter);
  const sock_fprog program = program_of(&filter);
  REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (strcmp(way, "prctl") == 0) {
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  } else if (strcmp(way, "syscall_prctl") == 0) {
    REQUIRE(syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
  } else {
    // As libseccomp asks what the kernel has: that installs nothing.
    REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, nullptr) == -1);
    REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0);
  }
}

static void* install_for_all(void*) {
  char byte;
  REQUIRE(read(go[0], &byte, 1) == 1);
  install("seccomp", SECCOMP_FILTER_FLAG_TSYNC);
  REQUIRE(write(begun[1], "x", 1) == 1);
  return read(go[0], &byte, 1) == 1 ? nullptr : &address;  // for good
}

static int new_socket() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(fd >= 0);
  return fd;
}

static void connect_to(int fd) {
  REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

static void echo(int fd) {
  char text[4] = "";
  REQUIRE(write(fd, "echo", 4) == 4);
  for (ssize_t got = 0; got < 4;) {
    const ssize_t more = read(fd, text + got, sizeof text - static_cast<size_t>(got));
    REQUIRE(more > 0);
    got += more;
  }
  REQUIRE(memcmp(text, "echo", 4) == 0);
}

static void connect_and_close() {
  const int fd = new_socket();
  connect_to(fd);
  echo(fd);
  REQUIRE(close(fd) == 0);
}

static int port_of(int fd) {
  sockaddr_in own{};
  socklen_t length = sizeof own;
  REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) == 0);
  return ntohs(own.sin_port);
}

// Until the library has the daemon's segment, which a busy machine may hold up (guest.h).
static void begin_attached(char** argv) {
  static char maps[65536];
  const char* attempt = getenv("PORTPOOL_TEST_BEGIN_ATTACHED");
  if (attempt == nullptr || atoi(attempt) >= 200) return;
  const int fd = open("/proc/self/maps", O_RDONLY);
  size_t used = 0;
  for (ssize_t got; (got = read(fd, maps + used, sizeof maps - 1 - used)) > 0;) {
    used += static_cast<size_t>(got);
  }
  close(fd);
  if (strstr(maps, "/memfd:portpool") != nullptr) return;
  usleep(10000);
  char next[16];
  snprintf(next, sizeof next, "%d", atoi(attempt) + 1);
  setenv("PORTPOOL_TEST_BEGIN_ATTACHED", next, 1);
  execv("/proc/self/exe", argv);
}

static void exec_under_filter(int argc, char** argv) {
  Filter filter{};
  begin(&filter);
  for (const long number : kCallsOfTheStart) allow(&filter, number);
  for (int i = 3; i < argc; ++i) allow(&filter, atol(argv[i]));
  const sock_fprog program = program_of(&filter);
  char done[] = "done";
  char* words[] = {argv[0], done, argv[2], nullptr};
  REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  execv("/proc/self/exe", words);
  _exit(__LINE__);
}

int main(int argc, char** argv) {
  REQUIRE(argc >= 3);
  const char* way = argv[1];
  if (strcmp(way, "done") != 0) begin_attached(argv);
  if (strcmp(way, "exec") == 0) exec_under_filter(argc, argv);
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(atoi(argv[2])));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(pipe(begun) == 0 && pipe(go) == 0);

  const int connected = new_socket();
  connect_to(connected);
  const int later = new_socket();
  const int bound = new_socket();
  sockaddr_in any = address;
  any.sin_port = 0;
  REQUIRE(bind(bound, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0);

  if (strcmp(way, "thread") == 0) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, nullptr, install_for_all, nullptr) == 0);
    char byte = 'x';
    // Not before pthread_create() has made all of its calls.
    REQUIRE(write(go[1], &byte, 1) == 1);
    REQUIRE(read(begun[0], &byte, 1) == 1);
  } else if (strcmp(way, "done") != 0) {
    install(way, 0);
  }

  echo(connected);
  REQUIRE(close(connected) == 0);
  connect_to(later);
  echo(later);
  REQUIRE(close(later) == 0);
  const int port = port_of(bound);
  REQUIRE(port != 0);
  connect_to(bound);
  REQUIRE(port_of(bound) == port);
  REQUIRE(close(bound) == 0);
  connect_and_close();
  for (char byte = '\n'; byte == '\n';) {
    REQUIRE(write(STDOUT_FILENO, "ready\n", 6) == 6);
    if (read(STDIN_FILENO, &byte, 1) != 1) break;
    if (byte == '\n') connect_and_close();
  }
  _exit(0);
}
