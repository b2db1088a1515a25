#include "daemon/handover_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>
#include <vector>

#include "base/descriptor_passing.h"
#include "base/error.h"
#include "kernel/descent.h"
#include "portpool/linux.h"

namespace portpool {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// However many come, the event loop has other work, too.
constexpr int kVisitorsPerTurn = 64;
constexpr milliseconds kLongestTurn{5};
// When not even one descriptor can be had, the next look is worth while only later.
constexpr milliseconds kShortagePause{100};
// A shortage is over when none was met for so long.
constexpr std::chrono::seconds kCalm{10};
constexpr milliseconds kMendPause{250};

Descriptor spare_descriptor() { return Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

// POLLHUP: the other side has closed, and whatever is sent to it is in vain. POLLRDHUP alone: it
// will send nothing.
int state_of(int connection) {
  pollfd state{connection, POLLRDHUP, 0};
  return poll(&state, 1, 0) == 1 ? state.revents : 0;
}

std::vector<gid_t> groups_of(int connection) {
  std::vector<gid_t> groups(64);
  for (;;) {
    auto length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const bool ok = getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0;
    const bool larger = length > groups.size() * sizeof(gid_t);
    groups.resize(length / sizeof(gid_t));
    if (ok) return groups;
    if (!larger) return {};
  }
}

}  // namespace

gid_t group_named(const std::string& name) {
  if (name.empty()) return SocketFile::kNoGroup;
  const group* entry = getgrnam(name.c_str());
  if (entry == nullptr) {
    throw UserError(
        fmt::format("socket_group \"{0}\" does not exist; create it with: groupadd {0}", name));
  }
  return entry->gr_gid;
}

HandoverServer::HandoverServer(EventLoop& loop, SocketFile file, HandoverPolicy policy,
                               const Segment& segment, std::function<void(Visitor&)> report)
    : loop_(loop),
      file_(std::move(file)),
      policy_(policy),
      segment_(segment),
      report_(std::move(report)),
      resume_timer_(loop.add_timer([this] { watch(); })),
      mend_timer_(loop.add_timer([this] { mend(); })),
      spare_(spare_descriptor()) {
  watch();
  loop_.repeat_timer(mend_timer_, kMendPause);
}

HandoverServer::~HandoverServer() { unwatch(); }

void HandoverServer::watch() {
  if (watching_ || file_.fd() < 0) return;
  loop_.watch(file_.fd(), [this] { serve_turn(); });
  watching_ = true;
}

void HandoverServer::unwatch() {
  if (std::exchange(watching_, false)) loop_.unwatch(file_.fd());
}

std::string HandoverServer::trouble() const {
  if (!watching_) return "no descriptor is left to take programs in with (RLIMIT_NOFILE)";
  return file_.trouble();
}

SocketFile::Handles HandoverServer::give_up() {
  unwatch();
  return file_.give_up();
}

void HandoverServer::serve_turn() {
  const auto end = steady_clock::now() + kLongestTurn;
  int left = kVisitorsPerTurn;
  Accepted accepted = Accepted::somebody;
  while (accepted == Accepted::somebody && left-- > 0 && steady_clock::now() < end) {
    accepted = serve_one(file_.fd());
  }
  if (accepted != Accepted::nothing_to_accept_with) return;
  unwatch();
  loop_.set_timer(resume_timer_, kShortagePause);
}

HandoverServer::Accepted HandoverServer::serve_one(int listener) {
  if (!spare_) spare_ = spare_descriptor();
  Descriptor connection(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection) {
    switch (errno) {
      case EINTR:
      case ECONNABORTED:
        return Accepted::somebody;
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        return serve_without_descriptors(listener);
      default:
        return Accepted::nobody;
    }
  }
  note_plenty();
  greet(std::move(connection), true);
  return Accepted::somebody;
}

// In the place of the spare one, and without staying: nobody is left waiting, and the event loop
// not called again and again for the same visitor.
HandoverServer::Accepted HandoverServer::serve_without_descriptors(int listener) {
  note_shortage();
  spare_ = Descriptor();
  Descriptor connection(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection) {
    return errno == EAGAIN ? Accepted::nobody : Accepted::nothing_to_accept_with;
  }
  greet(std::move(connection), false);
  spare_ = spare_descriptor();
  return Accepted::somebody;
}

void HandoverServer::note_shortage() {
  short_since_ = steady_clock::now();
  if (std::exchange(short_, true)) return;
  spdlog::error(
      "out of descriptors (RLIMIT_NOFILE, or fs.file-max of the host): programs can attach, but "
      "commands and what poold opens anew may fail; raise LimitNOFILE= of its unit, or ulimit -n");
}

void HandoverServer::note_plenty() {
  if (!short_ || steady_clock::now() - short_since_ < kCalm) return;
  short_ = false;
  spdlog::info("descriptors can be had again");
}

void HandoverServer::greet(Descriptor connection, bool may_stay) {
  const int state = state_of(connection.get());
  if ((state & (POLLHUP | POLLERR)) != 0) {
    segment_.count_attach(AttachResult::gone);
    return;
  }
  const bool only_listens = (state & POLLRDHUP) != 0;
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return;
  const int descriptors[] = {segment_.structure_fd(), segment_.hints_fd()};
  HandoverMessage message;
  message.answer = judge(connection.get(), peer);
  message.structure_size = segment_.structure_size();
  message.hints_size = segment_.hints_size();
  send_with_descriptors(connection.get(), std::as_bytes(std::span(&message, 1)),
                        message.answer == Handover::granted ? std::span<const int>(descriptors)
                                                            : std::span<const int>());
  const bool may_command = may_stay && !only_listens && message.answer == Handover::granted &&
                           (peer.uid == 0 || peer.uid == geteuid());
  Visitor visitor{peer.pid,     peer.uid,    message.answer,
                  only_listens, may_command, std::move(connection)};
  report_(visitor);
}

Handover HandoverServer::judge(int connection, const ucred& peer) const {
  // The accepted socket is made in the network namespace of the one that connected.
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (policy_.network_namespace.cookie != 0 &&
      getsockopt(connection, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) == 0 &&
      cookie != policy_.network_namespace.cookie) {
    return Handover::refused_netns;
  }
  return may_attach(connection, peer) ? Handover::granted : Handover::refused_user;
}

bool HandoverServer::may_attach(int connection, const ucred& peer) const {
  if (peer.uid == 0 || peer.uid == geteuid()) return true;
  if (policy_.group != SocketFile::kNoGroup) {
    const auto groups = groups_of(connection);
    if (peer.gid == policy_.group ||
        std::find(groups.begin(), groups.end(), policy_.group) != groups.end()) {
      return true;
    }
  }
  return policy_.descendants &&
         kernel::descends_from_here(kernel::peer_process(connection, peer.pid), peer.pid);
}

void HandoverServer::mend() {
  const int watched = watching_ ? file_.fd() : -1;
  const auto before = file_.mend();
  if (!before) return;
  if (std::exchange(watching_, false)) loop_.unwatch(watched);
  watch();
  // Nobody can come to the old socket any more, but some may have been waiting there.
  const auto end = steady_clock::now() + kLongestTurn;
  while (steady_clock::now() < end && serve_one(before->get()) == Accepted::somebody) {
  }
}

}  // namespace portpool
