#include "fault/refused/refusal.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>

#include "portpool/linux.h"
#include "portpool/system_call.h"
#include "support/guest.h"
#include "support/sockets.h"

namespace portpool::test {
namespace {

struct Kind {
  const char* name;  // empty: whatever the arguments
  std::vector<Refusal::Argument> arguments;
};

struct RefusedCall {
  const char* name;
  long number;
  std::vector<Kind> kinds;
  std::vector<int> errors;
};

Kind option(const char* name, int level, int number) {
  return {name, {{1, static_cast<std::uint32_t>(level)}, {2, static_cast<std::uint32_t>(number)}}};
}

// The errors: those of each call's manual page, section 2 (setsockopt(2) for getsockopt, poll(2)
// for ppoll, recv(2) for recvmsg); of udp(7), tcp(7) and unix(7) what comes to these calls; and
// EPERM and ENOSYS, by which containers' and sandboxes' filters refuse (seccomp(2),
// SECCOMP_RET_ERRNO). Not EINPROGRESS and EINTR of connect(): they say that the connection is under
// way, and no filter can make that true.
const std::vector<RefusedCall>& table() {
  static const std::vector<RefusedCall> calls{
      {"setsockopt",
       SYS_setsockopt,
       {{"", {}},
        option("IP_LOCAL_PORT_RANGE", IPPROTO_IP, IP_LOCAL_PORT_RANGE),
        option("IP_BIND_ADDRESS_NO_PORT", IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
        option("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR),
        option("SO_LINGER", SOL_SOCKET, SO_LINGER)},
       {EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, ENOMEM, EPERM, ENOSYS}},
      {"getsockopt",
       SYS_getsockopt,
       {{"", {}},
        option("SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL),
        option("SO_TYPE", SOL_SOCKET, SO_TYPE),
        option("SO_NETNS_COOKIE", SOL_SOCKET, SO_NETNS_COOKIE),
        option("SO_PEERNAME", SOL_SOCKET, SO_PEERNAME),
        option("TCP_INFO", IPPROTO_TCP, TCP_INFO),
        option("IP_LOCAL_PORT_RANGE", IPPROTO_IP, IP_LOCAL_PORT_RANGE)},
       {EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, ENOBUFS, EPERM, ENOSYS}},
      {"ppoll", SYS_ppoll, {{"", {}}}, {EFAULT, EINTR, EINVAL, ENOMEM, EPERM, ENOSYS}},
      {"mmap",
       SYS_mmap,
       {{"", {}},
        {"MAP_SHARED", {{3, MAP_SHARED}}},
        {"without a file", {{3, MAP_PRIVATE | MAP_ANONYMOUS}}}},
       {EACCES, EAGAIN, EBADF, EINVAL, ENFILE, ENODEV, ENOMEM, EOVERFLOW, EPERM, ETXTBSY, ENOSYS}},
      {"recvmsg",
       SYS_recvmsg,
       {{"", {}}},
       {EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK, EMFILE,
        EPERM, ENOSYS}},
      {"socket",
       SYS_socket,
       {{"", {}},
        {"AF_UNIX", {{0, AF_UNIX}}},
        {"AF_NETLINK", {{0, AF_NETLINK}}},
        {"SOCK_DGRAM", {{1, SOCK_DGRAM | SOCK_CLOEXEC}}}},
       {EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT, EPERM,
        ENOSYS}},
      {"connect",
       SYS_connect,
       {{"", {}}, {"AF_UNIX", {{2, sizeof(sockaddr_un)}}}},
       {EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBADF, ECONNREFUSED, EFAULT,
        ENETUNREACH, EHOSTUNREACH, ENOTSOCK, EPROTOTYPE, ETIMEDOUT, EINVAL, ENOBUFS, ENOENT,
        ENOSYS}},
      // Of a socket that had none before, as if it had been connected unseen.
      {"connect_v6",
       SYS_connect,
       {{"AF_INET6", {{2, sizeof(sockaddr_in6)}}}},
       {EALREADY, EISCONN, EADDRNOTAVAIL, ENETUNREACH, EPERM}},
      {"bind",
       SYS_bind,
       {{"", {}}},
       {EACCES, EADDRINUSE, EBADF, EINVAL, ENOTSOCK, EADDRNOTAVAIL, EFAULT, ENOMEM, ENODEV, ENOBUFS,
        EPERM, ENOSYS}},
  };
  return calls;
}

sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}

std::size_t place_of(const Refusal::Argument& argument) {
  constexpr bool kLowFirst = std::endian::native == std::endian::little;
  return offsetof(seccomp_data, args) + argument.index * sizeof(std::uint64_t) +
         (kLowFirst ? 0 : sizeof(std::uint32_t));
}

std::vector<sock_filter> program_of(const Refusal& refusal) {
  std::vector<sock_filter> steps{load(offsetof(seccomp_data, nr))};
  // How many steps are left to the last, which allows.
  std::size_t rest = 1 + 2 * refusal.arguments.size();
  const auto unless = [&](std::uint32_t value) {
    steps.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, static_cast<std::uint8_t>(rest)));
  };
  unless(static_cast<std::uint32_t>(refusal.number));
  for (const Refusal::Argument& argument : refusal.arguments) {
    steps.push_back(load(place_of(argument)));
    rest -= 2;
    unless(argument.value);
  }
  steps.push_back(
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(refusal.error)));
  steps.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  return steps;
}

}  // namespace

std::vector<std::string> refused_calls() {
  std::vector<std::string> names;
  for (const RefusedCall& call : table()) names.emplace_back(call.name);
  return names;
}

std::vector<Refusal> refusals_of(const std::string& name) {
  std::vector<Refusal> all;
  for (const RefusedCall& call : table()) {
    if (call.name != name) continue;
    for (const Kind& kind : call.kinds) {
      const std::string what = *kind.name == '\0' ? name : name + " " + kind.name;
      for (const int error : call.errors) {
        all.push_back({what + ": " + error_name(error), call.number, error, kind.arguments});
      }
    }
  }
  return all;
}

void refuse(const Refusal& refusal, Sight sight) {
  std::vector<sock_filter> steps = program_of(refusal);
  const sock_fprog program{static_cast<unsigned short>(steps.size()), steps.data()};
  CHECK_THAT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (sight == Sight::seen) {
    CHECK_THAT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  } else {
    CHECK_THAT(system_call(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
  }
}

}  // namespace portpool::test
