#include "daemon/clients.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include "kernel/pidfd.h"

namespace portpool {
namespace {

constexpr std::chrono::milliseconds kCoalesced{1};

// The others are for connections, netlink sockets, files of /proc.
constexpr rlim_t kShareOfDescriptors = 4;

std::size_t most_followed() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return static_cast<std::size_t>(limit.rlim_cur / kShareOfDescriptors);
}

bool has_ended(const Descriptor& process) {
  pollfd state{process.get(), POLLIN, 0};
  return poll(&state, 1, 0) == 1;
}

}  // namespace

Clients::Clients(EventLoop& loop, std::atomic<std::uint32_t>& count, std::function<void()> ended)
    : loop_(loop), count_(count), ended_(std::move(ended)), ended_timer_(loop.add_timer([this] {
        ended_due_ = false;
        ended_();
      })) {}

Clients::~Clients() {
  for (const auto& [pid, handle] : alive_) loop_.unwatch(handle.get());
}

void Clients::attached(pid_t pid) {
  if (pid <= 0) return lose_sight();
  if (const auto known = alive_.find(pid); known != alive_.end()) {
    if (!has_ended(known->second)) return;
    forget(pid);  // its number has been given to another process
  }
  const std::size_t room = most_followed();
  if (alive_.size() >= room) {
    lose_sight();
    return say_full_once("there is room for no more (a quarter of RLIMIT_NOFILE)");
  }
  Descriptor handle = kernel::open_process(pid);
  if (handle) return follow(pid, std::move(handle));
  if (errno == ESRCH) return;  // it has ended
  lose_sight();
  if (errno == EMFILE || errno == ENFILE) say_full_once(std::strerror(errno));
}

void Clients::follow(pid_t pid, Descriptor handle) {
  try {
    loop_.watch(handle.get(), [this, pid] { forget(pid); });
  } catch (const std::system_error&) {
    return lose_sight();  // fs.epoll.max_user_watches
  }
  alive_.emplace(pid, std::move(handle));
  count_.store(static_cast<std::uint32_t>(alive_.size()), std::memory_order_relaxed);
}

void Clients::forget(pid_t pid) {
  const auto known = alive_.find(pid);
  loop_.unwatch(known->second.get());
  alive_.erase(known);
  count_.store(static_cast<std::uint32_t>(alive_.size()), std::memory_order_relaxed);
  // Full and not full in turns is one event.
  if (alive_.size() < most_followed() / 2) said_full_ = false;
  if (!std::exchange(ended_due_, true)) loop_.set_timer(ended_timer_, kCoalesced);
}

void Clients::say_full_once(const char* why) {
  if (std::exchange(said_full_, true)) return;
  spdlog::warn(
      "{} attached processes are counted: {}; those that come now attach all the same, but "
      "\"attached\" in status is the least that there are; raise LimitNOFILE= of poold's unit, or "
      "ulimit -n",
      alive_.size(), why);
}

std::vector<pid_t> Clients::alive() const {
  std::vector<pid_t> pids;
  for (const auto& [pid, handle] : alive_) pids.push_back(pid);
  return pids;
}

}  // namespace portpool
