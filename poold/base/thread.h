// Threads beside the event loop.
#pragma once

#include <csignal>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"

namespace portpool {

// Does `work`, which starts threads, so that no signal interrupts these: signals are for the event
// loop's signalfd. A thread inherits the mask of the one that starts it. Throws UserError where no
// thread can be started.
template <class Work>
auto with_signals_blocked(Work&& work) {
  struct AllBlocked {
    AllBlocked() {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    ~AllBlocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    AllBlocked(const AllBlocked&) = delete;
    AllBlocked& operator=(const AllBlocked&) = delete;
    sigset_t before;
  };
  const AllBlocked here;
  try {
    return std::forward<Work>(work)();
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again) throw;
    // pthread_create(3): EAGAIN.
    throw UserError(
        "cannot start a thread: this user or control group has as many processes and threads as it "
        "may; end some, or raise the limit: ulimit -u (LimitNPROC= of a unit), or pids.max "
        "(TasksMax= of a unit)");
  }
}

// A thread that no signal interrupts. Throws UserError where none can be started.
template <class Work>
std::thread thread_without_signals(Work&& work) {
  return with_signals_blocked([&] { return std::thread(std::forward<Work>(work)); });
}

}  // namespace portpool
