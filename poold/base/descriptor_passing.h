// Descriptors sent along with a message over a UNIX socket: SCM_RIGHTS of unix(7).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/descriptor.h"

namespace portpool {

// What the kernel takes in one message: SCM_MAX_FD of include/net/scm.h, the same since
// Linux 2.6.38.
inline constexpr std::size_t kMostDescriptors = 253;

// Sends `message`, which must not be empty, and copies of `descriptors` with it. Neither waits nor
// raises SIGPIPE. False when not all of it was sent; errno then tells why, unless a stream socket
// took only a part.
bool send_with_descriptors(int socket, std::span<const std::byte> message,
                           std::span<const int> descriptors);

struct Received {
  std::size_t bytes = 0;  // 0: the end, or an error that errno tells
  std::vector<Descriptor> descriptors;
};

// One recvmsg(), waiting unless the socket is non-blocking. Takes every descriptor that came,
// however many and in however many parts, so that a sender cannot leave one behind in this process;
// they do not pass through exec.
Received receive_with_descriptors(int socket, std::span<std::byte> buffer);

}  // namespace portpool
