// Descriptors that travel with a message over a UNIX socket (SCM_RIGHTS, unix(7)).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/descriptor.h"

namespace portpool {

// One message of one sendmsg(), without waiting and without SIGPIPE. False: errno says why.
bool send_with_descriptors(int socket, std::span<const std::byte> message,
                           std::span<const int> descriptors);

struct Received {
  std::size_t bytes = 0;  // 0: nothing came, or an error
  std::vector<Descriptor> descriptors;
};

// What one recvmsg() brings; every descriptor that came with it is owned by the answer, whatever
// was expected (close-on-exec).
Received receive_with_descriptors(int socket, std::span<std::byte> buffer);

}  // namespace portpool
