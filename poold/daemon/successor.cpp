#include "daemon/successor.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <iterator>
#include <vector>

#include "base/descriptor_passing.h"
#include "portpool/crash_point.h"

namespace portpool {
namespace {

using Clock = std::chrono::steady_clock;

// How long visitors and the heartbeat's watchdog may go without being looked at.
constexpr int kLookMs = 50;

template <class T>
std::span<const std::byte> bytes_of(const T& message) {
  return std::as_bytes(std::span(&message, 1));
}

}  // namespace

bool Successor::hear_question() {
  TakeOverMessage question;
  const ssize_t got = recv(connection_.get(), &question, sizeof question, MSG_DONTWAIT);
  if (got == static_cast<ssize_t>(sizeof question) &&
      question.magic == TakeOverMessage::kMagicWord && question.step == TakeOverStep::ask &&
      question.protocol == TakeOverMessage::kProtocol) {
    return true;
  }
  refuse();
  return false;
}

void Successor::refuse() { say(TakeOverStep::refused); }

bool Successor::say(TakeOverStep step) {
  TakeOverMessage message;
  message.step = step;
  return send_with_descriptors(connection_.get(), bytes_of(message), {});
}

Successor::Heard Successor::hear(TakeOverStep step, TakeOverMessage& message,
                                 std::chrono::seconds patience, int listener,
                                 const std::function<void()>& meanwhile) {
  const Clock::time_point end = Clock::now() + patience;
  while (Clock::now() < end) {
    pollfd waiting[] = {{connection_.get(), POLLIN, 0}, {listener, POLLIN, 0}};
    poll(waiting, std::size(waiting), kLookMs);
    meanwhile();
    if (waiting[0].revents == 0) continue;
    const ssize_t got = recv(connection_.get(), &message, sizeof message, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    const bool whole = got == static_cast<ssize_t>(sizeof message) &&
                       message.magic == TakeOverMessage::kMagicWord && message.step == step;
    return whole ? Heard::expected : Heard::gone;
  }
  return Heard::nothing;
}

Successor::End Successor::hand_over(const Estate& estate, const std::function<void()>& meanwhile,
                                    const std::function<void()>& let_go) {
  TakeOverMessage message;
  message.step = TakeOverStep::handed;
  message.structure_size = estate.structure_size;
  message.hints_size = estate.hints_size;
  if (!send_with_descriptors(connection_.get(), bytes_of(message), estate.descriptors)) {
    return End::kept;
  }
  PORTPOOL_CRASH_POINT(handing_over);
  const int listener = estate.descriptors[kListener];
  const Heard ready = hear(TakeOverStep::ready, message, kReadyPatience, listener, meanwhile);
  if (ready != Heard::expected) {
    say(TakeOverStep::withdrawn);
    return End::kept;
  }
  let_go();
  if (!say(TakeOverStep::yours)) return End::taken_back;
  PORTPOOL_CRASH_POINT(handed_over);
  switch (hear(TakeOverStep::running, message, kRunningPatience, listener, meanwhile)) {
    case Heard::gone:
      return End::taken_back;
    case Heard::nothing:
      // It owns the segment, whether it hangs or not.
      return End::given;
    case Heard::expected:
      break;
  }
  return message.value != 0 ? End::given : End::replaced;
}

void Successor::say_goodbye(std::span<const pid_t> clients) {
  TakeOverMessage message;
  message.step = TakeOverStep::clients;
  message.value = static_cast<std::uint32_t>(clients.size());
  const std::vector<std::int32_t> pids(clients.begin(), clients.end());
  if (!send_with_descriptors(connection_.get(), bytes_of(message), {})) return;
  if (!pids.empty()) {
    send_with_descriptors(connection_.get(), std::as_bytes(std::span(pids)), {});
  }
}

pid_t Successor::pid() const {
  ucred peer{};
  socklen_t length = sizeof peer;
  getsockopt(connection_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length);
  return peer.pid;
}

}  // namespace portpool
