#include "daemon/log_outlet.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace portpool {
namespace {

constexpr int kRetryMs = 10;

bool can_be_full(const struct stat& file, int fd) {
  return S_ISFIFO(file.st_mode) || (S_ISCHR(file.st_mode) && isatty(fd) != 0);
}

}  // namespace

LogOutlet::LogOutlet(int fd) : fd_(fd), ending_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!ending_) throw std::system_error(errno, std::generic_category(), "eventfd");
  struct stat file {};
  if (fstat(fd, &file) != 0) return;
  is_socket_ = S_ISSOCK(file.st_mode);
  if (!can_be_full(file, fd)) return;
  // Where that is forbidden, waiting for room must do: what was seen free may be taken by another
  // writer before us.
  own_ = Descriptor(open(fmt::format("/proc/self/fd/{}", fd).c_str(),
                         O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  may_block_ = !own_;
}

bool LogOutlet::write(std::string_view text) {
  const int fd = own_ ? own_.get() : fd_;
  bool room_was_seen = false;
  while (!text.empty()) {
    if (may_block_ && !await_room()) return false;
    // A pipe that can be written to takes this much without blocking (pipe(7)).
    const std::size_t part = std::min<std::size_t>(text.size(), PIPE_BUF);
    const ssize_t written = is_socket_ ? send(fd, text.data(), part, MSG_DONTWAIT | MSG_NOSIGNAL)
                                       : ::write(fd, text.data(), part);
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
      room_was_seen = false;
    } else if (errno == EAGAIN) {
      if (room_was_seen && !pause()) return false;
      if (!await_room()) return false;
      room_was_seen = true;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

// A terminal may have room, but not for a whole line.
bool LogOutlet::pause() {
  const int left = milliseconds_left();
  pollfd ending{left < 0 ? ending_.get() : -1, POLLIN, 0};
  if (left != 0) poll(&ending, 1, kRetryMs);
  return left != 0;
}

void LogOutlet::end_by(std::chrono::steady_clock::time_point time) {
  end_ns_ = std::chrono::nanoseconds(time.time_since_epoch()).count();
  const std::uint64_t one = 1;
  (void)!::write(ending_.get(), &one, sizeof one);
}

// -1: without end.
int LogOutlet::milliseconds_left() const {
  const std::int64_t end = end_ns_;
  if (end < 0) return -1;
  const auto now = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch());
  return static_cast<int>(std::clamp<std::int64_t>((end - now.count()) / 1'000'000, 0, 60'000));
}

bool LogOutlet::await_room() {
  for (;;) {
    const int left = milliseconds_left();
    pollfd watched[] = {{own_ ? own_.get() : fd_, POLLOUT, 0},
                        {left < 0 ? ending_.get() : -1, POLLIN, 0}};
    const int ready = poll(watched, 2, left);
    // An error or hang-up too: the write will tell.
    if (ready > 0 && watched[0].revents != 0) return true;
    if (left >= 0 && ready == 0) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

bool is_journal(int fd) {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat file {};
  return stream != nullptr && fstat(fd, &file) == 0 &&
         fmt::format("{}:{}", file.st_dev, file.st_ino) == stream;
}

}  // namespace portpool
