#include "kernel/sock_diag_parse.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>

namespace portpool::kernel {
namespace {

// idiag_timer, sock_diag(7)
constexpr std::uint8_t kTimerRetransmit = 1;
constexpr std::uint8_t kTimerTimeWait = 3;
constexpr std::uint8_t kTimerWindowProbe = 4;
constexpr int kLargestErrno = 4095;  // MAX_ERRNO, include/linux/err.h

Address address_of(std::uint8_t family, const __be32 (&words)[4]) {
  if (family == AF_INET) return address_from_v4({words[0]});
  in6_addr raw;
  std::memcpy(&raw, words, sizeof raw);
  return address_from_v6(raw);
}

SocketRecord record_of(const inet_diag_msg& message) {
  SocketRecord record;
  record.local = {address_of(message.idiag_family, message.id.idiag_src),
                  ntohs(message.id.idiag_sport)};
  record.remote = {address_of(message.idiag_family, message.id.idiag_dst),
                   ntohs(message.id.idiag_dport)};
  // The kernel selects bound sockets by bit 13 but reports the state that they are in: CLOSE, in
  // which no other socket is listed.
  record.state = message.idiag_state == TCP_CLOSE ? kTcpBoundInactive : message.idiag_state;
  record.v6_socket = message.idiag_family == AF_INET6;
  record.timer_ms = message.idiag_timer == kTimerTimeWait ? message.idiag_expires : 0;
  const bool waits_for_answer =
      message.idiag_timer == kTimerRetransmit || message.idiag_timer == kTimerWindowProbe;
  record.retries = waits_for_answer ? message.idiag_retrans : 0;
  record.inode = message.idiag_inode;
  record.uid = message.idiag_uid;
  return record;
}

// From the attributes behind a message (rtnetlink(7)), where TCP_INFO is one of them.
std::optional<bool> timestamps_in(const std::byte* next, std::size_t size) {
  while (size >= sizeof(nlattr)) {
    nlattr attribute;
    std::memcpy(&attribute, next, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > size) break;
    constexpr std::size_t kOptions = offsetof(tcp_info, tcpi_options);
    if (attribute.nla_type == INET_DIAG_INFO && attribute.nla_len > sizeof attribute + kOptions) {
      const auto options = std::to_integer<unsigned>(next[sizeof attribute + kOptions]);
      return (options & TCPI_OPT_TIMESTAMPS) != 0;
    }
    const std::size_t step = std::min<std::size_t>(NLA_ALIGN(attribute.nla_len), size);
    next += step;
    size -= step;
  }
  return std::nullopt;
}

// The number after the header of NLMSG_ERROR and NLMSG_DONE, negated: an errno, or 0.
int error_of(const std::byte* payload, std::size_t size, int when_absent) {
  if (size < sizeof(int)) return when_absent;
  int code;
  std::memcpy(&code, payload, sizeof code);
  if (code < -kLargestErrno) return EBADMSG;
  return code < 0 ? -code : 0;
}

void finish(ParsedBuffer& result, int error) {
  result.done = true;
  result.error = error;
}

void parse_message(const nlmsghdr& header, const std::byte* payload, bool tcp_info,
                   ParsedBuffer& result, const RecordVisitor& visit) {
  const std::size_t size = header.nlmsg_len - sizeof header;
  switch (header.nlmsg_type) {
    case SOCK_DIAG_BY_FAMILY:
    case TCPDIAG_GETSOCK: {
      inet_diag_msg message;
      if (size < sizeof message) return finish(result, EBADMSG);
      std::memcpy(&message, payload, sizeof message);
      ++result.records;
      SocketRecord record = record_of(message);
      if (tcp_info && (kConnectedStates & state_bit(record.state)) != 0) {
        record.timestamps = timestamps_in(payload + sizeof message, size - sizeof message);
      }
      return visit(record);
    }
    case NLMSG_DONE:  // carries an error since a dump may fail after its first messages
      return finish(result, error_of(payload, size, 0));
    case NLMSG_ERROR:
      if (const int error = error_of(payload, size, EBADMSG)) finish(result, error);
      return;
    case NLMSG_OVERRUN:
      return finish(result, ENOBUFS);
    default:
      return;
  }
}

}  // namespace

ParsedBuffer parse_sock_diag(const void* data, std::size_t size, std::uint32_t sequence,
                             RecordVisitor visit, bool tcp_info) {
  ParsedBuffer result;
  const auto* next = static_cast<const std::byte*>(data);
  while (size > 0 && !result.done) {
    nlmsghdr header;
    if (size < sizeof header) {
      finish(result, EBADMSG);
      break;
    }
    std::memcpy(&header, next, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size) {
      finish(result, EBADMSG);
      break;
    }
    if (header.nlmsg_seq == sequence) {
      if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) result.interrupted = true;
      parse_message(header, next + sizeof header, tcp_info, result, visit);
    }
    const std::size_t step = NLMSG_ALIGN(header.nlmsg_len);
    next += step < size ? step : size;
    size -= step < size ? step : size;
  }
  return result;
}

}  // namespace portpool::kernel
