// A connect() whose port the kernel chooses: any, that which was promised, or one of a range.
#pragma once

#include "portpool/structure.h"
#include "shim/call.h"

namespace portpool::shim {

// While it lives, the kernel takes the socket's port from `range` (IP_LOCAL_PORT_RANGE, Linux 6.3);
// from its own when that is empty. Keeps errno.
class KernelRange {
 public:
  KernelRange(int fd, PortRange range);
  ~KernelRange();
  KernelRange(const KernelRange&) = delete;
  KernelRange& operator=(const KernelRange&) = delete;

 private:
  int fd_;
  bool narrowed_;
};

// The real connect(). required: the range that it must not leave (outside_range = "refuse"), or an
// empty one; with the bind strategy the kernel cannot be told of it, and the call ends with
// EADDRNOTAVAIL.
int connect_by_kernel(const Call& call, SocketState& state, PortRange required);

// After EADDRNOTAVAIL: where the socket is held to one port, by a pin or a promise that cannot be
// taken away (seccomp refuses setsockopt), it is bound to another. EADDRNOTAVAIL where that is not
// so, or does not help.
int connect_though_held(const Call& call, SocketState& state, PortRange required);

// For that strategy: some ports of the range are tried at random, for one that nobody has.
// EADDRNOTAVAIL: none was found.
int connect_bound_within(PortRange range, const Call& call, SocketState& state);

}  // namespace portpool::shim
