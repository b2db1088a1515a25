#include "shim/kernel_path.h"

#include <cerrno>

#include "portpool/lane.h"
#include "shim/attach.h"
#include "shim/process.h"
#include "shim/promise.h"
#include "shim/real.h"
#include "shim/record.h"
#include "shim/strategy.h"

namespace portpool::shim {
namespace {

int no_port() {
  errno = EADDRNOTAVAIL;
  return -1;
}

int connect_within(PortRange range, const Call& call) {
  const SegmentView* view = mapped_segment();
  // A bound port that the kernel chooses may be any.
  if (view == nullptr || attached_strategy() == Strategy::bind) return no_port();
  const auto whole = PortRange::unpack(view->header().port_range.load(std::memory_order_relaxed));
  // The kernel takes no notice of a range that lies wholly outside its own (ip(7)).
  if (range.low > whole.high || range.high < whole.low) return no_port();
  if (range.contains(call.promise.port)) {
    const KernelRange promised(call.fd, {call.promise.port, call.promise.port});
    const int result = real().connect(call.fd, call.address, call.length);
    if (errno_of(result) != EADDRNOTAVAIL) return result;
  }
  const KernelRange narrowed(call.fd, range);
  return real().connect(call.fd, call.address, call.length);
}

// That port is tried first; the kernel's choice comes after it.
int connect_promised(const Call& call, SocketState& state) {
  if (attached_strategy() == Strategy::bind) {
    const ErrnoKeeper keep;
    make_real(call.fd, state, call.promise);
  }
  if (state.own_port) return real().connect(call.fd, call.address, call.length);
  {
    // The range of that one port is on the socket already.
    const KernelRange promised(call.fd, {call.promise.port, call.promise.port});
    const int result = real().connect(call.fd, call.address, call.length);
    if (errno_of(result) != EADDRNOTAVAIL) return result;
  }
  const int result = real().connect(call.fd, call.address, call.length);
  if (is_under_way(errno_of(result))) count(mapped_segment(), Counter::k_promises_broken);
  return result;
}

}  // namespace

KernelRange::KernelRange(int fd, PortRange range) : fd_(fd), narrowed_(!range.empty()) {
  const ErrnoKeeper keep;
  if (narrowed_) set_port_range(fd, range.pack());
}

KernelRange::~KernelRange() {
  const ErrnoKeeper keep;
  if (narrowed_) set_port_range(fd_, 0);
}

int connect_by_kernel(const Call& call, SocketState& state, PortRange required) {
  if (!required.empty()) return connect_within(required, call);
  if (call.promise.port != 0 && !state.own_port) return connect_promised(call, state);
  return real().connect(call.fd, call.address, call.length);
}

int connect_though_held(const Call& call, SocketState& state, PortRange required) {
  const SegmentView* view = mapped_segment();
  const PortRange held = PortRange::unpack(port_range_of(call.fd));
  const bool is_held = held.low != 0 && held.low == held.high;
  if (view == nullptr || state.own_range || state.own_port || !is_held) return no_port();
  const auto whole = PortRange::unpack(view->header().port_range.load(std::memory_order_relaxed));
  const int result = connect_bound_within(required.empty() ? whole : required, call, state);
  const ErrnoKeeper keep;
  if (state.own_port) restore_after_bind(call.fd, call.family(), state.own_reuse, nullptr);
  return result;
}

int connect_bound_within(PortRange range, const Call& call, SocketState& state) {
  constexpr int kDraws = 16;
  OwnAddress own;
  if (state.has_source && !own_address(call.fd, own)) return no_port();
  const Address source = state.has_source ? own.endpoint.address : Address{};
  PinTarget target{call.fd, call.family(), {}, source, false, state.own_reuse};
  std::uint64_t random = random_at(call.start_ns);
  for (int draw = 0; draw < kDraws; ++draw, random = detail::next_random(random)) {
    const auto number = static_cast<int>(range.low + (random >> 32) % range.size());
    if (!Port::check(number, range, target.port) ||
        pin_strategy(Strategy::bind).pin(target) != PinResult::done) {
      target.reuse_is_set = false;
      continue;
    }
    state.own_port = true;
    return real().connect(call.fd, call.address, call.length);
  }
  restore_after_bind(call.fd, call.family(), state.own_reuse, state.has_source ? &source : nullptr);
  return no_port();
}

}  // namespace portpool::shim
