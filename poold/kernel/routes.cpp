#include "kernel/routes.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace portpool::kernel {
namespace {

struct Close {
  void operator()(mnl_socket* socket) const { ::mnl_socket_close(socket); }
};
using Socket = std::unique_ptr<mnl_socket, Close>;

constexpr std::uint32_t kSequence = 1;
constexpr std::size_t kBufferSize = 8192;
using Buffer = std::array<char, kBufferSize>;

struct Reply {
  Route route{};
  bool usable = false;
  bool has_source = false;
};

void put_request(Buffer& buffer, const Address& destination) {
  const bool v4 = is_v4(destination);
  nlmsghdr* header = ::mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = RTM_GETROUTE;
  header->nlmsg_flags = NLM_F_REQUEST;
  header->nlmsg_seq = kSequence;
  auto* route = static_cast<rtmsg*>(::mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  route->rtm_family = v4 ? AF_INET : AF_INET6;
  route->rtm_dst_len = v4 ? 32 : 128;
  if (v4) {
    const in_addr raw = v4_of(destination);
    ::mnl_attr_put(header, RTA_DST, sizeof raw, &raw);
  } else {
    const in6_addr raw = v6_of(destination);
    ::mnl_attr_put(header, RTA_DST, sizeof raw, &raw);
  }
}

int on_attribute(const nlattr* attribute, void* data) {
  Reply& reply = *static_cast<Reply*>(data);
  const void* payload = ::mnl_attr_get_payload(attribute);
  const std::size_t size = ::mnl_attr_get_payload_len(attribute);
  const auto type = ::mnl_attr_get_type(attribute);
  if (type == RTA_PREFSRC && size == sizeof(in_addr)) {
    in_addr raw;
    std::memcpy(&raw, payload, sizeof raw);
    reply.route.source = address_from_v4(raw);
    reply.has_source = raw.s_addr != 0;
  } else if (type == RTA_PREFSRC && size == sizeof(in6_addr)) {
    in6_addr raw;
    std::memcpy(&raw, payload, sizeof raw);
    reply.route.source = address_from_v6(raw);
    reply.has_source = !is_unspecified(reply.route.source);
  }
  return MNL_CB_OK;
}

int on_message(const nlmsghdr* header, void* data) {
  if (header->nlmsg_type != RTM_NEWROUTE || ::mnl_nlmsg_get_payload_len(header) < sizeof(rtmsg)) {
    return MNL_CB_ERROR;
  }
  Reply& reply = *static_cast<Reply*>(data);
  const auto* route = static_cast<const rtmsg*>(::mnl_nlmsg_get_payload(header));
  // IPv6 reports unreachable and prohibited routes as routes of that type, IPv4 as an error.
  reply.usable = route->rtm_type == RTN_UNICAST || route->rtm_type == RTN_LOCAL;
  reply.route.local = route->rtm_type == RTN_LOCAL;
  ::mnl_attr_parse(header, sizeof(rtmsg), on_attribute, &reply);
  return MNL_CB_STOP;
}

// Errors by which the kernel says that there is no route, and not that it could not look.
bool means_no_route(int error) {
  switch (error) {
    case ENETUNREACH:
    case EHOSTUNREACH:   // a route of type unreachable
    case EACCES:         // prohibit
    case EINVAL:         // blackhole; an address that is no destination
    case ENETDOWN:       // the interface
    case EADDRNOTAVAIL:  // no source address
    case ENODEV:
    case EAFNOSUPPORT:  // a kernel without IPv6
    case EOPNOTSUPP:
      return true;
    default:
      return false;
  }
}

// 0: the kernel answered with a route, of whatever kind. Else its error, or that of asking it.
int ask_kernel(const Address& destination, Reply& reply, bool& answered) {
  const Socket socket(::mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (!socket || ::mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) return errno;
  alignas(nlmsghdr) Buffer buffer{};
  put_request(buffer, destination);
  const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
  if (::mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0) return errno;
  // The answer, an error included, is queued before sendto() returns; so an empty queue is final.
  const ssize_t size =
      ::recv(::mnl_socket_get_fd(socket.get()), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (size < 0) return errno;
  answered = true;
  const int result = ::mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), kSequence,
                                  ::mnl_socket_get_portid(socket.get()), on_message, &reply);
  return result < 0 ? errno : 0;
}

Answer<Reply> ask(const Address& destination) {
  Reply reply;
  bool answered = false;
  const int error = ask_kernel(destination, reply, answered);
  if (error == 0) return reply;
  if (answered && means_no_route(error)) return Answer<Reply>::absent();
  return Answer<Reply>::unknown(std::string("cannot ask the kernel for a route: ") +
                                std::strerror(error));
}

}  // namespace

Answer<Route> route_to(const Address& destination) {
  if (is_unspecified(destination)) return Answer<Route>::absent();
  const auto reply = ask(destination);
  if (!reply.is_known()) return Answer<Route>::unknown(reply.why());
  if (!reply || !reply->usable || !reply->has_source) return Answer<Route>::absent();
  return reply->route;
}

Answer<bool> is_local_address(const Address& address) {
  if (is_unspecified(address)) return false;
  const auto reply = ask(address);
  if (!reply.is_known()) return Answer<bool>::unknown(reply.why());
  return reply && reply->route.local;
}

}  // namespace portpool::kernel
