#include "base/beside.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "base/thread.h"

namespace portpool {

Beside::Beside() : done_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!done_) throw std::system_error(errno, std::generic_category(), "eventfd");
  thread_ = thread_without_signals([this] { run(); });
}

Beside::~Beside() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Beside::start(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    job_ = std::move(job);
  }
  busy_ = true;
  wake_.notify_one();
}

bool Beside::finish() {
  std::uint64_t count = 0;
  if (read(done_.get(), &count, sizeof count) != sizeof count) return false;
  busy_ = false;
  std::exception_ptr error;
  {
    const std::lock_guard lock(mutex_);
    error = std::exchange(error_, nullptr);
  }
  if (error) std::rethrow_exception(error);
  return true;
}

void Beside::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || job_; });
    if (ending_) return;
    lock.unlock();
    std::exception_ptr error;
    try {
      job_();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    job_ = nullptr;
    error_ = error;
    const std::uint64_t one = 1;
    (void)!write(done_.get(), &one, sizeof one);
  }
}

}  // namespace portpool
