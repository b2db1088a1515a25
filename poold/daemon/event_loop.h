// One epoll loop: descriptors, timers and signals, each with a function to call.
#pragma once

#include <sys/signalfd.h>

#include <chrono>
#include <functional>
#include <map>
#include <vector>

#include "base/descriptor.h"

namespace portpool {

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls `ready` whenever `fd` can be read. The loop does not own `fd`.
  void watch(int fd, std::function<void()> ready);
  void unwatch(int fd);

  // Calls `due` once after `delay`; a timer that is set again forgets its earlier time. Returns the
  // timer's handle for set_timer().
  int add_timer(std::function<void()> due);
  void set_timer(int timer, std::chrono::nanoseconds delay);
  void repeat_timer(int timer, std::chrono::nanoseconds interval);

  // Blocks the signals for this thread (and threads started later) and calls `arrived` for each.
  void handle_signals(const std::vector<int>& signals,
                      std::function<void(const signalfd_siginfo&)> arrived);

  // Runs until stop() is called from one of the functions.
  void run();
  void stop() { running_ = false; }

 private:
  Descriptor epoll_;
  std::map<int, std::function<void()>> watched_;
  std::map<int, Descriptor> owned_;
  bool running_ = false;
};

}  // namespace portpool
