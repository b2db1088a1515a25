#include "shim/strategy.h"

#include <cerrno>

#include "portpool/linux.h"
#include "shim/process.h"
#include "shim/real.h"

namespace portpool::shim {
namespace {

template <class Value>
bool set_option(int fd, int level, int name, Value value) {
  return real().setsockopt(fd, level, name, &value, sizeof value) == 0;
}

bool bind_to(int fd, int family, const Endpoint& endpoint) {
  sockaddr_storage address;
  const socklen_t length = sockaddr_from_endpoint(endpoint, family, address);
  return length != 0 && real().bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0;
}

bool set_range(int fd, std::uint32_t range) {
  return set_option(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, range);
}

PinResult pin_by_range(const PinTarget& target) {
  const PortRange range{target.port.number(), target.port.number()};
  return set_range(target.fd, range.pack()) ? PinResult::done : PinResult::unsupported;
}

bool unpin_range(int fd) { return set_range(fd, 0); }

Address wildcard(int family) {
  return family == AF_INET ? address_from_v4({INADDR_ANY}) : Address{};
}

bool set_reuse(int fd, bool reuse) {
  return set_option(fd, SOL_SOCKET, SO_REUSEADDR, reuse ? 1 : 0);
}

PinResult pin_by_bind(const PinTarget& target) {
  if (target.reuse_is_set != target.shared && !set_reuse(target.fd, target.shared)) {
    return PinResult::unsupported;
  }
  const bool any = is_unspecified(target.source);
  const Address source = any ? wildcard(target.family) : target.source;
  if (!bind_to(target.fd, target.family, {source, target.port.number()})) {
    if (errno == EADDRINUSE) return PinResult::taken;
    return !any && is_source_error(errno) ? PinResult::no_source : PinResult::unsupported;
  }
  // For the lanes of other destinations, which share the port.
  if (!target.shared) set_reuse(target.fd, true);
  return PinResult::done;
}

// A bound socket cannot be unbound.
bool unpin_bound(int) { return false; }

constexpr PinStrategy kByRange{&pin_by_range, &unpin_range};
constexpr PinStrategy kByBind{&pin_by_bind, &unpin_bound};

}  // namespace

const PinStrategy& pin_strategy(Strategy strategy) {
  return strategy == Strategy::port_range ? kByRange : kByBind;
}

bool is_source_error(int error) {
  switch (error) {
    case EADDRNOTAVAIL:
    case EINVAL:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENODEV:
    case EACCES:
      return true;
    default:
      return false;
  }
}

void restore_after_bind(int fd, int family, bool reuse, const Address* source) {
  set_reuse(fd, reuse);
  if (source != nullptr) bind_source(fd, family, *source);
}

bool bind_source(int fd, int family, const Address& source) {
  if (!set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)) return false;
  const bool bound = bind_to(fd, family, {source, 0});
  const ErrnoKeeper keep;
  set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0);
  return bound;
}

void unbind_source(int fd, int family) {
  set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  bind_to(fd, family, {wildcard(family), 0});
  set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0);
}

}  // namespace portpool::shim
