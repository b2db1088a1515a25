#include "stress/floods/witness.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "base/descriptor_passing.h"
#include "observe/heartbeat_watch.h"
#include "portpool/handover.h"

namespace portpool::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLookEvery{5};
constexpr milliseconds kNewcomerEvery{250};
// Longer than any program waits; who has no segment by then counts as having waited so long.
constexpr milliseconds kPatience{5000};

void go_first() {
  sched_param parameters{};
  parameters.sched_priority = 1;
  sched_setscheduler(0, SCHED_RR, &parameters);
}

// One attempt; false where the daemon's queue is full.
bool has_connected(const Descriptor& socket, const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
}

// Whether the segment came before `deadline`.
bool has_segment(const std::string& path, steady_clock::time_point deadline) {
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  while (!has_connected(socket, path)) {
    if (errno != EAGAIN || steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
  pollfd ready{socket.get(), POLLIN, 0};
  if (poll(&ready, 1, static_cast<int>(std::max(left.count(), milliseconds::rep{0}))) != 1) {
    return false;
  }
  HandoverMessage message;
  const Received received =
      receive_with_descriptors(socket.get(), std::as_writable_bytes(std::span(&message, 1)));
  return received.bytes == sizeof message && received.descriptors.size() == 2;
}

}  // namespace

std::size_t Witness::Testimony::late_newcomers() const {
  return static_cast<std::size_t>(
      std::count_if(newcomers.begin(), newcomers.end(),
                    [](Duration duration) { return duration > milliseconds(kAttachTimeoutMs); }));
}

Witness::Witness(const std::string& socket)
    : socket_(socket),
      segment_(socket),
      heartbeat_([this] { watch_heartbeat(); }),
      newcomers_([this] { send_newcomers(); }) {}

Witness::~Witness() {
  ending_ = true;
  if (heartbeat_.joinable()) heartbeat_.join();
  if (newcomers_.joinable()) newcomers_.join();
}

Witness::Testimony Witness::end() {
  ending_ = true;
  heartbeat_.join();
  newcomers_.join();
  std::sort(seen_.newcomers.begin(), seen_.newcomers.end());
  return seen_;
}

void Witness::watch_heartbeat() {
  go_first();
  HeartbeatWatch watch(segment_.header(), steady_clock::now());
  while (!ending_) {
    seen_.oldest_heartbeat =
        std::max(seen_.oldest_heartbeat, watch.silence(segment_.header(), steady_clock::now()));
    ++seen_.looks;
    std::this_thread::sleep_for(kLookEvery);
  }
}

void Witness::send_newcomers() {
  go_first();
  while (!ending_) {
    const auto begin = steady_clock::now();
    const bool served = has_segment(socket_, begin + kPatience);
    const Duration took = steady_clock::now() - begin;
    seen_.newcomers.push_back(served ? took : std::max<Duration>(took, kPatience));
    std::this_thread::sleep_until(begin + kNewcomerEvery);
  }
}

}  // namespace portpool::test
