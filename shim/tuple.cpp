#include "shim/tuple.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "portpool/system_call.h"
#include "shim/process.h"

namespace portpool::shim {
namespace {

// What is left of a TIME_WAIT of 60 s (TCP_TIMEWAIT_LEN) when connect() may first take it over:
// tcp_twsk_unique() in net/ipv4/tcp_ipv4.c, after 1 s.
constexpr std::uint32_t kReusableLeftMs = 59'000;

struct Question {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

// The beginning of it; the attributes after that are not for us.
struct Answer {
  nlmsghdr header;
  union {
    nlmsgerr error;
    inet_diag_msg found;
  };
};
static_assert(offsetof(Answer, found) == NLMSG_HDRLEN && offsetof(Answer, error) == NLMSG_HDRLEN);

void write_address(const Address& address, bool v4, __be32 (&words)[4]) {
  if (v4) {
    words[0] = v4_of(address).s_addr;
  } else {
    std::memcpy(words, &address, sizeof address);
  }
}

Question question_for(const Endpoint& local, const Endpoint& remote) {
  // Asked by AF_INET the kernel finds AF_INET6 sockets with IPv4 addresses too.
  const bool v4 = is_v4(local.address);
  Question question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.header.nlmsg_seq = local.port;
  question.body.sdiag_family = static_cast<__u8>(v4 ? AF_INET : AF_INET6);
  question.body.sdiag_protocol = IPPROTO_TCP;
  question.body.idiag_states = ~0U;
  inet_diag_sockid& id = question.body.id;
  id.idiag_sport = htons(local.port);
  id.idiag_dport = htons(remote.port);
  write_address(local.address, v4, id.idiag_src);
  write_address(remote.address, v4, id.idiag_dst);
  id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return question;
}

TupleUse read_answer(const Question& question, const Answer& answer, long bytes) {
  const auto has = [&](std::size_t size) {
    return bytes >= static_cast<long>(NLMSG_HDRLEN + size);
  };
  // Of an earlier question that was given up?
  if (has(0) && answer.header.nlmsg_seq != question.header.nlmsg_seq) return TupleUse::unknown;
  if (has(sizeof answer.error.error) && answer.header.nlmsg_type == NLMSG_ERROR) {
    return answer.error.error == -ENOENT ? TupleUse::none : TupleUse::unknown;
  }
  if (!has(sizeof answer.found) || answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY) {
    return TupleUse::unknown;
  }
  const inet_diag_msg& found = answer.found;
  // Where no connection matches the kernel answers with the listener of the local port.
  if (found.idiag_state == TCP_LISTEN) return TupleUse::none;
  const bool old = found.idiag_state == TCP_TIME_WAIT && found.idiag_expires < kReusableLeftMs;
  return old ? TupleUse::reusable : TupleUse::used;
}

}  // namespace

TupleQuestions::TupleQuestions() {
  const ErrnoKeeper keep;
  socket_.open_socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
}

TupleUse TupleQuestions::ask(const Endpoint& local, const Endpoint& remote) const {
  if (!socket_ || is_v4(local.address) != is_v4(remote.address)) return TupleUse::unknown;
  const ErrnoKeeper keep;
  const Question question = question_for(local, remote);
  Answer answer{};
  if (system_call(SYS_sendto, socket_.get(), &question, sizeof question, 0, nullptr, 0) !=
      sizeof question) {
    return TupleUse::unknown;
  }
  const long bytes =
      system_call(SYS_recvfrom, socket_.get(), &answer, sizeof answer, 0, nullptr, nullptr);
  return read_answer(question, answer, bytes);
}

}  // namespace portpool::shim
