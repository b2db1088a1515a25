#include "kernel/routes.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <array>
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

struct Answer {
  RouteAnswer route{};
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
  Answer& answer = *static_cast<Answer*>(data);
  const void* payload = ::mnl_attr_get_payload(attribute);
  const std::size_t size = ::mnl_attr_get_payload_len(attribute);
  const auto type = ::mnl_attr_get_type(attribute);
  if (type == RTA_OIF && size == sizeof(std::uint32_t)) {
    answer.route.oif = ::mnl_attr_get_u32(attribute);
  } else if (type == RTA_PREFSRC && size == sizeof(in_addr)) {
    in_addr raw;
    std::memcpy(&raw, payload, sizeof raw);
    answer.route.source = address_from_v4(raw);
    answer.has_source = raw.s_addr != 0;
  } else if (type == RTA_PREFSRC && size == sizeof(in6_addr)) {
    in6_addr raw;
    std::memcpy(&raw, payload, sizeof raw);
    answer.route.source = address_from_v6(raw);
    answer.has_source = !is_unspecified(answer.route.source);
  }
  return MNL_CB_OK;
}

int on_message(const nlmsghdr* header, void* data) {
  if (header->nlmsg_type != RTM_NEWROUTE || ::mnl_nlmsg_get_payload_len(header) < sizeof(rtmsg)) {
    return MNL_CB_ERROR;
  }
  Answer& answer = *static_cast<Answer*>(data);
  const auto* route = static_cast<const rtmsg*>(::mnl_nlmsg_get_payload(header));
  // IPv6 reports unreachable and prohibited routes as routes of that type, IPv4 as an error.
  answer.usable = route->rtm_type == RTN_UNICAST || route->rtm_type == RTN_LOCAL;
  answer.route.local = route->rtm_type == RTN_LOCAL;
  ::mnl_attr_parse(header, sizeof(rtmsg), on_attribute, &answer);
  return MNL_CB_STOP;
}

// True when the kernel answered with a route, of whatever kind.
bool ask(const Address& destination, Answer& answer) {
  const Socket socket(::mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (!socket || ::mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) return false;
  alignas(nlmsghdr) Buffer buffer{};
  put_request(buffer, destination);
  const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
  if (::mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0) return false;
  // The answer, an error included, is queued before sendto() returns; so an empty queue is final.
  const ssize_t size =
      ::recv(::mnl_socket_get_fd(socket.get()), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (size < 0) return false;
  return ::mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), kSequence,
                      ::mnl_socket_get_portid(socket.get()), on_message, &answer) >= 0;
}

}  // namespace

std::optional<RouteAnswer> route_to(const Address& destination) {
  Answer answer;
  if (is_unspecified(destination) || !ask(destination, answer)) return std::nullopt;
  if (!answer.usable || !answer.has_source) return std::nullopt;
  return answer.route;
}

bool is_local_address(const Address& address) {
  Answer answer;
  return !is_unspecified(address) && ask(address, answer) && answer.route.local;
}

}  // namespace portpool::kernel
