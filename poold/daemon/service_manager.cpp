#include "daemon/service_manager.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "base/clock.h"
#include "base/descriptor_passing.h"
#include "base/error.h"
#include "base/parse_number.h"
#include "base/text.h"

namespace portpool {
namespace {

constexpr int kFirstActivated = 3;  // SD_LISTEN_FDS_START
constexpr std::chrono::milliseconds kNone{0};

std::string taken_from_environment(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value == nullptr ? "" : value;
  unsetenv(name);
  return text;
}

std::vector<std::string> names_of(const std::string& list) {
  std::vector<std::string> names;
  for (std::size_t at = 0; !list.empty() && at <= list.size();) {
    const std::size_t end = std::min(list.find(':', at), list.size());
    names.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return names;
}

// Always takes the variables away, also when they were meant for another process.
std::vector<ActivatedDescriptor> activated_descriptors() {
  const auto count = whole_number<int>(taken_from_environment("LISTEN_FDS"));
  const auto pid = whole_number<pid_t>(taken_from_environment("LISTEN_PID"));
  const std::vector<std::string> names = names_of(taken_from_environment("LISTEN_FDNAMES"));
  std::vector<ActivatedDescriptor> found;
  if (pid != getpid() || !count) return found;
  for (int i = 0; i < *count; ++i) {
    const int fd = kFirstActivated + i;
    const auto place = static_cast<std::size_t>(i);
    // The number may be wrong; those that exist are in a row.
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) break;
    found.push_back({place < names.size() ? names[place] : "unknown", Descriptor(fd)});
  }
  return found;
}

std::optional<std::chrono::microseconds> watchdog_interval_from_environment() {
  const auto time = whole_number<std::int64_t>(taken_from_environment("WATCHDOG_USEC"));
  const std::string pid = taken_from_environment("WATCHDOG_PID");
  if (!time || *time <= 0) return std::nullopt;
  if (!pid.empty() && whole_number<pid_t>(pid) != getpid()) return std::nullopt;
  return std::chrono::microseconds(std::max<std::int64_t>(*time / 2, 1));
}

// A line of its own cannot be begun in one.
std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

bool is_listener(int fd) {
  const auto option = [fd](int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
  };
  return option(SO_DOMAIN) == AF_UNIX && option(SO_TYPE) == SOCK_STREAM &&
         option(SO_ACCEPTCONN) == 1;
}

// A path, or "@" and an abstract name (unix(7)).
Descriptor connected_to(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((name[0] != '/' && name[0] != '@') || name.size() >= sizeof address.sun_path) {
    errno = EINVAL;
    return {};
  }
  name.copy(address.sun_path, name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  Descriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (!socket ||
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return {};
  }
  return socket;
}

}  // namespace

ServiceManager ServiceManager::from_environment() {
  ServiceManager manager;
  manager.activated_ = activated_descriptors();
  manager.socket_ = taken_from_environment("NOTIFY_SOCKET");
  manager.watchdog_ = watchdog_interval_from_environment();
  if (!manager.is_there()) manager.watchdog_.reset();
  return manager;
}

bool ServiceManager::tell(std::string_view text, std::span<const int> descriptors,
                          std::chrono::milliseconds patience) {
  if (!is_there()) return false;
  // A new socket each time: whoever listened under that name may have been replaced.
  const Descriptor socket = connected_to(socket_);
  bool sent = false;
  while (socket && !sent) {
    sent = send_with_descriptors(socket.get(), std::as_bytes(std::span(text)), descriptors);
    pollfd room{socket.get(), POLLOUT, 0};
    if (!sent && (errno != EAGAIN || poll(&room, 1, static_cast<int>(patience.count())) <= 0))
      break;
  }
  if (!sent && !std::exchange(trouble_said_, true)) {
    spdlog::warn(
        "{}", with_errno("cannot tell the service manager at NOTIFY_SOCKET=" + printable(socket_)));
  }
  return sent;
}

void ServiceManager::ready(std::string_view status) {
  tell(fmt::format("READY=1\nMAINPID={}\nSTATUS={}", getpid(), one_line(status)));
}

void ServiceManager::reloading() {
  tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", clock_ns(CLOCK_MONOTONIC) / 1000));
}

void ServiceManager::stopping(std::string_view status) {
  tell(fmt::format("STOPPING=1\nSTATUS={}", one_line(status)));
}

void ServiceManager::status(std::string_view status) {
  tell("STATUS=" + one_line(status), {}, kNone);
}

void ServiceManager::main_process(pid_t pid) { tell(fmt::format("MAINPID={}", pid)); }

std::vector<std::string> ServiceManager::environment_for_successor() const {
  std::vector<std::string> variables;
  if (is_there()) variables.push_back("NOTIFY_SOCKET=" + socket_);
  if (watchdog_) variables.push_back(fmt::format("WATCHDOG_USEC={}", watchdog_->count() * 2));
  return variables;
}

void ServiceManager::watchdog() { tell("WATCHDOG=1", {}, kNone); }

bool ServiceManager::store(std::string_view name, std::span<const int> descriptors) {
  // FDPOLL=0: what cannot be polled, or has hung up, is kept all the same.
  return tell(fmt::format("FDSTORE=1\nFDNAME={}\nFDPOLL=0", name), descriptors);
}

bool ServiceManager::forget(std::string_view name) {
  return tell(fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name));
}

bool ServiceManager::await_read(std::chrono::milliseconds time) {
  int ends[2];
  if (!is_there() || pipe2(ends, O_CLOEXEC) != 0) return false;
  const Descriptor reader(ends[0]);
  {
    // The other end closes when the message that carries it is read.
    const Descriptor writer(ends[1]);
    const int descriptors[] = {writer.get()};
    if (!tell("BARRIER=1", descriptors)) return false;
  }
  pollfd closed{reader.get(), 0, 0};
  return poll(&closed, 1, static_cast<int>(time.count())) == 1;
}

std::vector<ActivatedDescriptor> ServiceManager::take(std::string_view name) {
  const auto first = std::stable_partition(activated_.begin(), activated_.end(),
                                           [&](const auto& one) { return one.name != name; });
  std::vector<ActivatedDescriptor> taken(std::make_move_iterator(first),
                                         std::make_move_iterator(activated_.end()));
  activated_.erase(first, activated_.end());
  return taken;
}

std::optional<ActivatedDescriptor> ServiceManager::take_listener() {
  const auto found = std::find_if(activated_.begin(), activated_.end(), [](const auto& one) {
    return is_listener(one.descriptor.get());
  });
  if (found == activated_.end()) return std::nullopt;
  ActivatedDescriptor listener = std::move(*found);
  activated_.erase(found);
  return listener;
}

}  // namespace portpool
