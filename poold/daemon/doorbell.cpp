#include "daemon/doorbell.h"

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <system_error>

#include "base/thread.h"

namespace portpool {
namespace {

void futex_call(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

}  // namespace

Doorbell::Doorbell(std::atomic<std::uint32_t>& futex)
    : futex_(futex), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!event_) throw std::system_error(errno, std::generic_category(), "eventfd");
  thread_ = thread_without_signals([this] { wait(); });
}

Doorbell::~Doorbell() {
  ending_ = true;
  futex_.fetch_add(1);
  futex_call(futex_, FUTEX_WAKE, INT_MAX);
  thread_.join();
}

void Doorbell::acknowledge() {
  std::uint64_t rings;
  (void)!read(event_.get(), &rings, sizeof rings);
}

void Doorbell::wait() {
  // The bell's first value, not the present one: it may have been rung before this thread ran.
  std::uint32_t heard = 0;
  while (!ending_) {
    futex_call(futex_, FUTEX_WAIT, heard);
    const std::uint32_t rung = futex_.load();
    if (rung == heard) continue;
    heard = rung;
    const std::uint64_t one = 1;
    (void)!write(event_.get(), &one, sizeof one);
  }
}

}  // namespace portpool
