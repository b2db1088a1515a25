#include "daemon/doorbell.h"

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>
#include <system_error>

#include "base/thread.h"

namespace portpool {
namespace {

// Who may ring can also lead a waiter away from the bell (FUTEX_REQUEUE), or put the bell back to
// what was heard before: nobody waits for longer than this.
constexpr timespec kPatience{0, 250'000'000};
// A bell that never rests is heard once in this time.
constexpr timespec kRest{0, 1'000'000};

void futex_call(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value,
                const timespec* timeout = nullptr) {
  syscall(SYS_futex, &word, operation, value, timeout, nullptr, 0);
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
    futex_call(futex_, FUTEX_WAIT, heard, &kPatience);
    const std::uint32_t rung = futex_.load();
    if (rung == heard) continue;
    heard = rung;
    const std::uint64_t one = 1;
    (void)!write(event_.get(), &one, sizeof one);
    nanosleep(&kRest, nullptr);
  }
}

}  // namespace portpool
