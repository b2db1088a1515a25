// The attached processes that are still alive. Only for show: no port depends on it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>

#include "base/descriptor.h"
#include "daemon/event_loop.h"

namespace portpool {

class Clients {
 public:
  // Keeps `count` at the number of processes known to be alive.
  Clients(EventLoop& loop, std::atomic<std::uint32_t>& count) : loop_(loop), count_(count) {}

  // A process attached. One that cannot be followed (pid 0: another pid namespace; a kernel
  // before 5.3; no descriptor left) is not counted. Attaching twice (exec, a restart) counts once.
  void attached(pid_t pid);

 private:
  EventLoop& loop_;
  std::atomic<std::uint32_t>& count_;
  std::map<pid_t, Descriptor> alive_;  // pidfds
};

}  // namespace portpool
