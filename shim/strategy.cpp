#include "shim/strategy.h"

#include "portpool/linux.h"
#include "shim/real.h"

namespace portpool::shim {
namespace {

bool set_range(int fd, std::uint32_t range) {
  return real().setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) == 0;
}

PinResult pin_by_range(int fd, std::uint16_t port) {
  const std::uint32_t range = std::uint32_t{port} << 16 | port;
  return set_range(fd, range) ? PinResult::done : PinResult::unsupported;
}

void unpin_range(int fd) { set_range(fd, 0); }

constexpr PinStrategy kByRange{&pin_by_range, &unpin_range};

}  // namespace

const PinStrategy* pin_strategy(Strategy strategy) {
  return strategy == Strategy::port_range ? &kByRange : nullptr;
}

}  // namespace portpool::shim
