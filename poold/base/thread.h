// Threads beside the event loop.
#pragma once

#include <csignal>
#include <thread>
#include <utility>

namespace portpool {

// A thread that no signal interrupts: they are for the event loop's signalfd. A thread inherits the
// mask of the one that starts it.
template <class Work>
std::thread thread_without_signals(Work&& work) {
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
  return std::thread(std::forward<Work>(work));
}

}  // namespace portpool
