// Connections that only take ports up, held by child processes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <vector>

#include "support/sockets.h"

namespace portpool::test {

// Opens `wanted` connections to `destination`, each with a port of the kernel's own choice, and
// holds them until it is destroyed. Stops early at the first one that fails.
class Holder {
 public:
  Holder(const SocketAddress& destination, std::size_t wanted);
  ~Holder();
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  std::size_t held() const { return held_; }
  // Why it stopped early; 0 when it did not.
  int error() const { return error_; }

 private:
  bool add_child(const SocketAddress& destination, std::size_t wanted);

  std::vector<pid_t> children_;
  std::size_t held_ = 0;
  int error_ = 0;
};

}  // namespace portpool::test
