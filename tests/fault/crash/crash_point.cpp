// The one side of crash_order.h: in programs under the library, too, so with system calls alone.
#include "portpool/crash_point.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "fault/crash/crash_order.h"
#include "portpool/system_call.h"

namespace portpool {
namespace {

using test::CrashOrder;

std::atomic<CrashOrder*> mapped;

CrashOrder* crash_order() {
  CrashOrder* order = mapped.load(std::memory_order_acquire);
  if (order != nullptr) return order;
  const char* path = std::getenv(test::kCrashOrderVariable);
  if (path == nullptr) return nullptr;
  const long fd = system_call(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  void* memory =
      map_memory(sizeof(CrashOrder), PROT_READ | PROT_WRITE, MAP_SHARED, static_cast<int>(fd));
  system_call(SYS_close, fd);
  if (memory == MAP_FAILED) return nullptr;
  order = static_cast<CrashOrder*>(memory);
  mapped.store(order, std::memory_order_release);
  return order;
}

bool is_last_passage(std::atomic<std::uint32_t>& left) {
  std::uint32_t seen = left.load(std::memory_order_acquire);
  while (seen != 0 && !left.compare_exchange_weak(seen, seen - 1)) {
  }
  return seen == 1;
}

}  // namespace

void pass_crash_point(const char* name) {
  const int errno_before = errno;
  CrashOrder* order = crash_order();
  if (order != nullptr && order->passages_left.load(std::memory_order_acquire) != 0 &&
      std::strcmp(order->point, name) == 0 && is_last_passage(order->passages_left)) {
    const long pid = system_call(SYS_getpid);
    order->obeyed_by.store(static_cast<std::int32_t>(pid), std::memory_order_release);
    system_call(SYS_kill, pid, order->signal);
  }
  errno = errno_before;
}

}  // namespace portpool
