#include "daemon/clients.h"

#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

namespace portpool {

void Clients::attached(pid_t pid) {
  if (pid <= 0 || alive_.contains(pid)) return;
  Descriptor handle(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!handle) return;
  const int fd = handle.get();
  alive_.emplace(pid, std::move(handle));
  loop_.watch(fd, [this, pid, fd] {
    loop_.unwatch(fd);
    alive_.erase(pid);
    count_.store(static_cast<std::uint32_t>(alive_.size()), std::memory_order_relaxed);
  });
  count_.store(static_cast<std::uint32_t>(alive_.size()), std::memory_order_relaxed);
}

}  // namespace portpool
