#include "daemon/predecessor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/descriptor_passing.h"
#include "base/error.h"
#include "portpool/crash_point.h"
#include "portpool/handover.h"

namespace portpool {
namespace {

constexpr std::size_t kMostClients = 65536;

[[noreturn]] void give_up(const std::string& why) {
  throw UserError(why + "; it goes on. Stop it first, and start this one without --take-over");
}

// Null: nobody listens there, or it may not be seen; a start in the ordinary way says what is
// wrong.
Descriptor connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return {};
  path.copy(address.sun_path, path.size());
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  return ::connect(socket.get(), name, sizeof address) == 0 ? std::move(socket) : Descriptor();
}

}  // namespace

std::optional<Predecessor> Predecessor::ask(const std::string& path) {
  Descriptor connection = connect_to(path);
  return connection ? ask(std::move(connection), path) : std::nullopt;
}

std::optional<Predecessor> Predecessor::ask(Descriptor connection, const std::string& path) {
  Predecessor predecessor(std::move(connection));
  ucred peer{};
  socklen_t length = sizeof peer;
  getsockopt(predecessor.connection_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length);
  predecessor.pid_ = peer.pid;
  // Another user could write to the files at any time.
  if (peer.uid != geteuid()) {
    give_up(fmt::format("the poold on {} (pid {}) belongs to user {}", path, peer.pid, peer.uid));
  }
  if (!predecessor.receive_estate(path)) return std::nullopt;
  return predecessor;
}

void Predecessor::await() {
  pollfd ready{connection_.get(), POLLIN, 0};
  const std::chrono::milliseconds patience(kPredecessorPatience);
  if (poll(&ready, 1, static_cast<int>(patience.count())) != 1) {
    give_up(fmt::format("the poold that runs (pid {}) does not answer", pid_));
  }
}

bool Predecessor::say(TakeOverStep step, std::uint32_t value) {
  TakeOverMessage message;
  message.step = step;
  message.value = value;
  return send_with_descriptors(connection_.get(), std::as_bytes(std::span(&message, 1)), {});
}

bool Predecessor::receive_estate(const std::string& path) {
  HandoverMessage greeting{};
  await();
  const Received greeted =
      receive_with_descriptors(connection_.get(), std::as_writable_bytes(std::span(&greeting, 1)));
  if (greeted.bytes == 0) return false;
  if (greeted.bytes < offsetof(HandoverMessage, answer) || greeting.magic != kMagic) {
    throw UserError(fmt::format("what listens on {} is not poold", path));
  }
  if (greeting.answer == Handover::refused_netns) {
    give_up(fmt::format("the poold on {} is in another network namespace", path));
  }
  if (!say(TakeOverStep::ask)) return false;
  await();
  Received handed =
      receive_with_descriptors(connection_.get(), std::as_writable_bytes(std::span(&answer_, 1)));
  if (handed.bytes == 0) return false;
  if (handed.bytes != sizeof answer_ || answer_.magic != TakeOverMessage::kMagicWord ||
      answer_.step != TakeOverStep::handed || handed.descriptors.size() <= kListener ||
      handed.descriptors.size() > kHandedMost) {
    give_up(
        fmt::format("the poold on {} (pid {}) hands nothing over: it is of a version that "
                    "cannot, or belongs to \"poold run\"",
                    path, pid_));
  }
  files_ = {std::move(handed.descriptors[kStructureFile]),
            std::move(handed.descriptors[kHintsFile])};
  socket_.listener = std::move(handed.descriptors[kListener]);
  if (handed.descriptors.size() > kLock) socket_.lock = std::move(handed.descriptors[kLock]);
  return true;
}

std::string Predecessor::layout() const {
  return fmt::format("{}.{}", answer_.layout_major, answer_.layout_minor);
}

void Predecessor::become_owner() {
  PORTPOOL_CRASH_POINT(before_ready);
  if (!say(TakeOverStep::ready)) return;
  await();
  TakeOverMessage message;
  const ssize_t got = recv(connection_.get(), &message, sizeof message, 0);
  // It has died: there is nobody else left to go on with the files.
  if (got <= 0) return;
  if (got != static_cast<ssize_t>(sizeof message) || message.step != TakeOverStep::yours) {
    throw UserError(
        fmt::format("the poold that runs (pid {}) has waited too long for this one and goes on; "
                    "try again",
                    pid_));
  }
  PORTPOOL_CRASH_POINT(has_become_owner);
}

void Predecessor::say_running(bool adopted) {
  PORTPOOL_CRASH_POINT(before_running);
  say(TakeOverStep::running, adopted ? 1 : 0);
}

bool Predecessor::hear_clients(std::vector<pid_t>& clients) {
  std::byte part[4096];
  const ssize_t got = recv(connection_.get(), part, sizeof part, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got > 0) {
    farewell_.insert(farewell_.end(), part, part + got);
    return farewell_.size() <= sizeof(TakeOverMessage) + kMostClients * sizeof(std::int32_t);
  }
  TakeOverMessage message;
  if (farewell_.size() < sizeof message) return false;
  std::memcpy(&message, farewell_.data(), sizeof message);
  if (message.step != TakeOverStep::clients) return false;
  const std::size_t sent = (farewell_.size() - sizeof message) / sizeof(std::int32_t);
  for (std::size_t i = 0; i < std::min<std::size_t>(message.value, sent); ++i) {
    std::int32_t pid = 0;
    std::memcpy(&pid, farewell_.data() + sizeof message + i * sizeof pid, sizeof pid);
    if (pid > 0) clients.push_back(pid);
  }
  return false;
}

}  // namespace portpool
