#include "kernel/sock_diag.h"

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "base/descriptor.h"
#include "kernel/sock_diag_parse.h"
#include "kernel/socket_filter.h"

namespace portpool::kernel {
namespace {

// The kernel fills at most 32 KiB per message (netlink_dump() in net/netlink/af_netlink.c).
constexpr std::size_t kBufferSize = std::size_t{64} * 1024;

// The kernel answers within the system call; this only keeps a lost answer from hanging the caller.
constexpr timeval kAnswerTimeout{.tv_sec = 2, .tv_usec = 0};

// States that have no remote end, and so never pass a filter by destination port.
constexpr std::uint32_t kUnconnectedStates =
    state_bit(10 /* TCP_LISTEN */) | state_bit(kTcpBoundInactive);

[[noreturn]] void throw_errno(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

inet_diag_sockid any_socket(const DumpFilter& filter) {
  inet_diag_sockid id{};
  id.idiag_sport = htons(filter.source_port);
  id.idiag_dport = htons(filter.destination_port);
  return id;
}

void write_address(const Address& address, int family, __be32 (&words)[4]) {
  if (family == AF_INET) {
    words[0] = v4_of(address).s_addr;
  } else {
    std::memcpy(words, &address, sizeof address);
  }
}

template <class Body>
std::span<const std::byte> bytes_of(const Body& body) {
  return std::as_bytes(std::span(&body, 1));
}

// The port that all of them have, or 0.
std::uint16_t common_port(std::span<const Endpoint> destinations) {
  const std::uint16_t port = destinations.front().port;
  const bool common = std::all_of(destinations.begin(), destinations.end(),
                                  [&](const Endpoint& other) { return other.port == port; });
  return common ? port : 0;
}

__u8 extensions(const DumpFilter& filter) {
  return filter.tcp_info ? 1U << (INET_DIAG_INFO - 1) : 0;
}

// A socket that is bound but not connected.
class BoundSocket {
 public:
  BoundSocket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    // With the automatic ports of one address used up another still has some; with lo down only the
    // wildcard can be bound.
    for (const in_addr_t address : {0x7F000001U, 0x7FFFFF01U, 0U}) {
      sockaddr_in wanted{};
      wanted.sin_family = AF_INET;
      wanted.sin_addr.s_addr = htonl(address);
      if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&wanted), sizeof wanted) == 0) return;
    }
  }

  std::uint16_t port() const {  // 0: not bound
    sockaddr_in name{};
    socklen_t length = sizeof name;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&name), &length);
    return ntohs(name.sin_port);
  }
  std::uint32_t inode() const {
    struct stat status {};
    ::fstat(fd_.get(), &status);
    return static_cast<std::uint32_t>(status.st_ino);
  }

 private:
  Descriptor fd_;
};

}  // namespace

void SockDiag::Close::operator()(mnl_socket* socket) const { ::mnl_socket_close(socket); }

SockDiag::SockDiag()
    : socket_(::mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC)),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kBufferSize)) {
  if (!socket_) throw_errno(errno, "sock_diag: socket");
  if (::mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
    throw_errno(errno, "sock_diag: bind");
  }
  ::setsockopt(::mnl_socket_get_fd(socket_.get()), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout,
               sizeof kAnswerTimeout);
  // No state selected: ends at once, but only a kernel that has tcp_diag accepts it.
  const DumpResult probe =
      dump_family(AF_INET, {.states = 0}, {}, RecordVisitor([](const SocketRecord&) {}));
  if (!probe.complete) throw_errno(probe.error, "sock_diag: the kernel does not list TCP sockets");
}

SockDiag::~SockDiag() = default;
SockDiag::SockDiag(SockDiag&&) noexcept = default;
SockDiag& SockDiag::operator=(SockDiag&&) noexcept = default;

DumpResult SockDiag::dump(const DumpFilter& filter, RecordVisitor visit) {
  if (!filter.v4 && !filter.v6) return {.complete = true};
  const int family = filter.v4 && filter.v6 ? AF_UNSPEC : filter.v4 ? AF_INET : AF_INET6;
  DumpFilter narrowed = filter;
  std::vector<std::byte> program;
  if (!filter.destinations.empty()) {
    if (takes_programs_) program = destination_filter(filter.destinations);
    // The kernel compares this before it runs a program.
    if (filter.destination_port == 0) {
      narrowed.destination_port = common_port(filter.destinations);
    }
    narrowed.states &= ~kUnconnectedStates;
  }
  if (narrowed.destination_port != 0) narrowed.states &= ~kUnconnectedStates;
  const DumpResult result = dump_family(family, narrowed, program, visit);
  if (program.empty() || result.error != EINVAL || result.records > 0) return result;
  takes_programs_ = false;
  return dump_family(family, narrowed, {}, visit);
}

DumpResult SockDiag::dump_family(int family, const DumpFilter& filter, Program program,
                                 const RecordVisitor& visit) {
  int error = 0;
  if (family == AF_UNSPEC) {
    // The older request: the only one that walks the table once for both families.
    inet_diag_req body{};
    body.id = any_socket(filter);
    body.idiag_states = filter.states;
    body.idiag_ext = extensions(filter);
    error = request(TCPDIAG_GETSOCK, NLM_F_DUMP, bytes_of(body), program);
  } else {
    inet_diag_req_v2 body{};
    body.sdiag_family = static_cast<__u8>(family);
    body.sdiag_protocol = IPPROTO_TCP;
    body.id = any_socket(filter);
    body.idiag_states = filter.states;
    body.idiag_ext = extensions(filter);
    error = request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, bytes_of(body), program);
  }
  if (error != 0) return {.complete = false, .error = error, .records = 0};
  return receive(true, visit, filter.tcp_info);
}

std::optional<SocketRecord> SockDiag::find(const Endpoint& local, const Endpoint& remote) {
  const bool v4 = is_v4(local.address);
  if (v4 != is_v4(remote.address)) return std::nullopt;
  // Asked by AF_INET the kernel finds AF_INET6 sockets with IPv4 addresses too.
  inet_diag_req_v2 body{};
  body.sdiag_family = v4 ? AF_INET : AF_INET6;
  body.sdiag_protocol = IPPROTO_TCP;
  body.idiag_states = kAllStates;
  body.id.idiag_sport = htons(local.port);
  body.id.idiag_dport = htons(remote.port);
  write_address(local.address, body.sdiag_family, body.id.idiag_src);
  write_address(remote.address, body.sdiag_family, body.id.idiag_dst);
  body.id.idiag_cookie[0] = body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;

  int error = request(SOCK_DIAG_BY_FAMILY, 0, bytes_of(body));
  std::optional<SocketRecord> found;
  if (error == 0) {
    auto keep = [&](const SocketRecord& record) {
      // Where no connection matches the kernel answers with the listener of the local port.
      if (record.local == local && record.remote == remote) found = record;
    };
    error = receive(false, keep).error;
  }
  if (error != 0 && error != ENOENT) throw_errno(error, "sock_diag: look-up of one socket");
  return found;
}

bool SockDiag::lists_bound_inactive() {
  const BoundSocket canary;
  const std::uint16_t port = canary.port();
  bool seen = false;
  if (port == 0) {
    // No port was to be had: perhaps just because others have bound them all.
    dump({.states = state_bit(kTcpBoundInactive)},
         [&](const SocketRecord& record) { seen = seen || record.state == kTcpBoundInactive; });
    return seen;
  }
  const std::uint32_t inode = canary.inode();
  dump({.states = state_bit(kTcpBoundInactive), .source_port = port, .v6 = false},
       [&](const SocketRecord& record) {
         seen = seen || (record.local.port == port && record.inode == inode);
       });
  return seen;
}

// Returns 0 or an errno.
int SockDiag::request(std::uint16_t type, std::uint16_t flags, std::span<const std::byte> body,
                      Program program) {
  if (pending_) drain();
  nlmsghdr header{};
  nlattr attribute{};
  static_assert(sizeof(inet_diag_req) % NLMSG_ALIGNTO == 0);
  static_assert(sizeof(inet_diag_req_v2) % NLMSG_ALIGNTO == 0);
  attribute.nla_type = INET_DIAG_REQ_BYTECODE;
  attribute.nla_len = static_cast<__u16>(sizeof attribute + program.size());
  const std::size_t attribute_size = program.empty() ? 0 : attribute.nla_len;
  header.nlmsg_len = static_cast<__u32>(sizeof header + body.size() + attribute_size);
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<__u16>(NLM_F_REQUEST | flags);
  header.nlmsg_seq = ++sequence_;
  // The kernel reads these, and the type wants them not to be const.
  iovec parts[] = {{&header, sizeof header},
                   {const_cast<std::byte*>(body.data()), body.size()},
                   {&attribute, sizeof attribute},
                   {const_cast<std::byte*>(program.data()), program.size()}};
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  msghdr message{};
  message.msg_name = &kernel;
  message.msg_namelen = sizeof kernel;
  message.msg_iov = parts;
  message.msg_iovlen = program.empty() ? 2 : 4;
  pending_ = true;
  return ::sendmsg(::mnl_socket_get_fd(socket_.get()), &message, 0) < 0 ? errno : 0;
}

// A dump's answer ends with NLMSG_DONE, a look-up's with its one record; both with an error.
DumpResult SockDiag::receive(bool dump, const RecordVisitor& visit, bool tcp_info) {
  DumpResult result;
  bool interrupted = false;
  for (bool done = false; !done;) {
    const ssize_t size = ::mnl_socket_recvfrom(socket_.get(), buffer_.get(), kBufferSize);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) {
      result.error = errno;  // ENOBUFS: messages were lost
      return result;
    }
    const ParsedBuffer parsed =
        parse_sock_diag(buffer_.get(), static_cast<std::size_t>(size), sequence_, visit, tcp_info);
    result.records += parsed.records;
    result.error = parsed.error;
    interrupted = interrupted || parsed.interrupted;
    if (parsed.error == EBADMSG) return result;
    done = parsed.done || (!dump && parsed.records > 0);
  }
  pending_ = false;
  result.complete = result.error == 0 && !interrupted;
  return result;
}

// Reads off an answer that was abandoned by an error or by an exception of the visitor. The kernel
// adds to a dump within recv(), so that nothing is left to come once nothing is waiting.
void SockDiag::drain() {
  const int fd = ::mnl_socket_get_fd(socket_.get());
  while (::recv(fd, buffer_.get(), kBufferSize, MSG_DONTWAIT) >= 0 || errno == ENOBUFS ||
         errno == EINTR) {
  }
  pending_ = false;
}

}  // namespace portpool::kernel
