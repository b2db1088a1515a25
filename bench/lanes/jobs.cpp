// What a worker does: plain socket calls, so that the shim sees a program like any other.
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "base/clock.h"
#include "loopback.h"
#include "portpool/linux.h"
#include "worker.h"

namespace portpool::bench {
namespace {

std::uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

std::uint64_t cpu_us() { return clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000; }

void sleep_us(std::uint32_t us) {
  const timespec pause{us / 1'000'000, static_cast<long>(us % 1'000'000) * 1000};
  ::nanosleep(&pause, nullptr);
}

// With the port-range strategy the socket itself tells who chose its port.
bool is_pinned(int fd) {
  std::uint32_t range = 0;
  socklen_t length = sizeof range;
  return ::getsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, &length) == 0 && range != 0;
}

void close_with_reset(int fd) {
  const linger reset{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  ::close(fd);
}

class Work {
 public:
  explicit Work(std::vector<int>& held) : held_(held) {}

  void run(const Order& order) {
    const std::uint64_t cpu = cpu_us();
    const std::uint64_t start = now_ns();
    end_ = start + std::uint64_t{order.ms} * 1'000'000;
    switch (order.job) {
      case Job::touch:
        if (const int fd = connected(); fd >= 0) close_with_reset(fd);
        break;
      case Job::touch_many:
        for (std::uint32_t i = 0; i < order.count; ++i) touch_nobody(i);
        break;
      case Job::peer_closes:
        while (now_ns() < end_) until_peer_closes(order.pause_us);
        break;
      case Job::resets:
        while (now_ns() < end_) {
          if (const int fd = connected(); fd >= 0) close_with_reset(fd);
        }
        break;
      case Job::hold:
        hold(order.count);
        break;
      case Job::refill:
        for (std::uint32_t i = 0; i < order.count; ++i) refill();
        break;
      case Job::retry_failed:
        while (now_ns() < end_) {
          if (const int fd = connected(); fd >= 0) close_with_reset(fd);
          if (order.pause_us != 0) sleep_us(order.pause_us);
        }
        break;
      case Job::tick:
        while (now_ns() < end_) tick();
        break;
    }
    outcome.cpu_us = cpu_us() - cpu;
    outcome.wall_us = (now_ns() - start) / 1000;
    outcome.samples = static_cast<std::uint32_t>(samples.size());
  }

  Outcome outcome;
  std::vector<std::uint64_t> samples;

 private:
  int connected() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&destination_), sizeof destination_) != 0) {
      ++outcome.errors;
      outcome.last_errno = errno;
      ::close(fd);
      return -1;
    }
    ++outcome.done;
    if (is_pinned(fd)) ++outcome.by_pool;
    return fd;
  }

  void touch_nobody(std::uint32_t n) {
    sockaddr_in nobody = destination_;
    nobody.sin_addr.s_addr = htonl(0x7F010000U + n);  // 127.1.0.0 and so on
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::connect(fd, reinterpret_cast<const sockaddr*>(&nobody), sizeof nobody);
    ::close(fd);
  }

  void until_peer_closes(std::uint32_t pause_us) {
    if (const int fd = connected(); fd >= 0) {
      char byte = 0;
      if (::recv(fd, &byte, 1, 0) < 0) ++outcome.errors;
      ::close(fd);
    }
    if (pause_us != 0) sleep_us(pause_us);
  }

  void hold(std::uint32_t count) {
    // The limit of this many failures keeps a misconfigured run from going on for ever.
    while (held_.size() < count && outcome.errors < 1000) {
      if (const int fd = connected(); fd >= 0) held_.push_back(fd);
    }
  }

  // Closes a connection with a byte unread, by a system call of its own. The kernel sends a reset
  // and the port is free at once. The shim sees it when the number comes back, and leaves the port
  // to poold.
  void refill() {
    if (held_.empty()) return;
    const int fd = held_.back();
    held_.pop_back();
    pollfd greeting{fd, POLLIN, 0};
    ::poll(&greeting, 1, 1000);
    // Fail-fast asks the kernel now and then all the same: let it do so before the port is free.
    for (int i = 0; i < 3; ++i) {
      if (const int none = connected(); none >= 0) close_with_reset(none);
    }
    ::syscall(SYS_close, fd);
    const std::uint64_t closed = now_ns();
    const std::uint64_t limit = closed + 5'000'000'000;
    for (std::uint64_t now = closed; now < limit; now = now_ns()) {
      const int next = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const int result =
          ::connect(next, reinterpret_cast<const sockaddr*>(&destination_), sizeof destination_);
      if (result == 0 && is_pinned(next)) {
        samples.push_back(now_ns() - closed);
        ++outcome.done;
        held_.push_back(next);
        return;
      }
      // Not the pool's: the kernel's own path was asked, and found the port before poold.
      if (result == 0) ++outcome.by_kernel;
      close_with_reset(next);
      sleep_us(20);
    }
    ++outcome.errors;
  }

  void tick() {
    const std::uint64_t before = now_ns();
    sleep_us(1000);
    const std::uint64_t slept = now_ns() - before;
    samples.push_back(slept > 1'000'000 ? slept - 1'000'000 : 0);
    ++outcome.done;
  }

  std::vector<int>& held_;
  sockaddr_in destination_ = listen_address();
  std::uint64_t end_ = 0;
};

}  // namespace

int run_worker() {
  die_with_parent();
  std::vector<int> held;
  Order order;
  while (read_all(STDIN_FILENO, &order, sizeof order)) {
    Work work(held);
    work.run(order);
    if (!write_all(STDOUT_FILENO, &work.outcome, sizeof work.outcome) ||
        !write_all(STDOUT_FILENO, work.samples.data(),
                   work.samples.size() * sizeof work.samples[0])) {
      return 1;
    }
  }
  return 0;
}

}  // namespace portpool::bench
