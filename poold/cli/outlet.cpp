#include "cli/outlet.h"

#include <linux/limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "base/error.h"

namespace portpool {

Outlet::Outlet() : signals_(readable_signals({SIGINT, SIGTERM, SIGHUP})) {
  std::signal(SIGPIPE, SIG_IGN);
}

bool Outlet::ready(short events, std::chrono::milliseconds time) {
  pollfd watched[] = {{ended_ ? -1 : signals_.get(), POLLIN, 0}, {STDOUT_FILENO, events, 0}};
  if (poll(watched, 2, static_cast<int>(time.count())) <= 0) return false;
  // An error or a hang-up shows whether asked for or not.
  closed_ = (watched[1].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
  ended_ = ended_ || closed_ || watched[0].revents != 0;
  return !closed_ && (watched[1].revents & events) != 0;
}

void Outlet::print(std::string_view text) {
  using namespace std::chrono_literals;
  while (!text.empty() && !closed_) {
    const bool last_words = ended_;
    if (!ready(POLLOUT, last_words ? 0ms : 1000ms)) {
      if (last_words) return;
      continue;
    }
    // A pipe that can be written to takes this much without blocking (pipe(7)).
    const std::size_t part = std::min<std::size_t>(text.size(), PIPE_BUF);
    const ssize_t written = write(STDOUT_FILENO, text.data(), part);
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EPIPE) {
      ended_ = closed_ = true;
    } else if (errno != EINTR && errno != EAGAIN) {
      throw UserError(with_errno("cannot write to standard output"));
    }
  }
}

void Outlet::wait(std::chrono::milliseconds time) {
  if (!ended_) ready(0, time);
}

}  // namespace portpool
