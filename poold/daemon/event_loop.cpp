#include "daemon/event_loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <csignal>
#include <system_error>

#include "base/error.h"

namespace portpool {
namespace {

Descriptor checked(int fd, const char* what) {
  if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
  return Descriptor(fd);
}

timespec to_timespec(std::chrono::nanoseconds time) {
  return {time.count() / 1'000'000'000, time.count() % 1'000'000'000};
}

}  // namespace

EventLoop::EventLoop() : epoll_(checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {}
EventLoop::~EventLoop() = default;

void EventLoop::watch(int fd, std::function<void()> ready) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
  watched_[fd] = std::move(ready);
}

void EventLoop::unwatch(int fd) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  watched_.erase(fd);
}

int EventLoop::add_timer(std::function<void()> due) {
  Descriptor timer =
      checked(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd_create");
  const int fd = timer.get();
  watch(fd, [fd, due = std::move(due)] {
    std::uint64_t expirations;
    if (read(fd, &expirations, sizeof expirations) == sizeof expirations) due();
  });
  owned_.emplace(fd, std::move(timer));
  return fd;
}

void EventLoop::set_timer(int timer, std::chrono::nanoseconds delay) {
  // A zero time would disarm the timer.
  const itimerspec spec{{}, to_timespec(std::max(delay, std::chrono::nanoseconds{1}))};
  timerfd_settime(timer, 0, &spec, nullptr);
}

void EventLoop::repeat_timer(int timer, std::chrono::nanoseconds interval) {
  const itimerspec spec{to_timespec(interval), to_timespec(interval)};
  timerfd_settime(timer, 0, &spec, nullptr);
}

void EventLoop::handle_signals(const std::vector<int>& signals,
                               std::function<void(const signalfd_siginfo&)> arrived) {
  Descriptor source = readable_signals(signals);
  const int fd = source.get();
  watch(fd, [fd, arrived = std::move(arrived)] {
    signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == sizeof info) arrived(info);
  });
  owned_.emplace(fd, std::move(source));
}

void EventLoop::run() {
  running_ = true;
  while (running_) {
    epoll_event events[32];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), -1);
    for (int i = 0; i < count && running_; ++i) {
      // A function may have ended the watch of a later event's descriptor.
      const auto found = watched_.find(events[i].data.fd);
      if (found == watched_.end()) continue;
      const auto ready = found->second;
      ready();
    }
  }
}

}  // namespace portpool
