#include "daemon/handover_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "base/descriptor_passing.h"
#include "base/error.h"
#include "portpool/linux.h"

namespace portpool {
namespace {

sockaddr_un socket_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw UserError(fmt::format("socket path \"{}\" must have 1 to {} bytes", path,
                                sizeof address.sun_path - 1));
  }
  path.copy(address.sun_path, path.size());
  return address;
}

// The pid of whoever listens at `address`, 0 when it cannot be seen; nullopt when nobody does.
std::optional<pid_t> listener_at(const sockaddr_un& address) {
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EAGAIN) {
    return std::nullopt;
  }
  ucred peer{};
  socklen_t length = sizeof peer;
  getsockopt(probe.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length);
  return peer.pid;
}

// Held for the daemon's life, so that two that start at once do not replace each other's socket.
Descriptor take_lock(const std::string& path) {
  const std::string name = path + ".lock";
  Descriptor lock(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) throw UserError(with_errno("cannot create " + name));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    throw UserError(fmt::format(
        "another poold is running on {}; stop it, or choose another path with --socket", path));
  }
  return lock;
}

void clear_stale_socket(const std::string& path, const sockaddr_un& address) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return;
  if (!S_ISSOCK(info.st_mode)) {
    throw UserError(
        fmt::format("{} exists and is not a socket; remove it, or choose another path "
                    "with --socket",
                    path));
  }
  if (const auto pid = listener_at(address)) {
    throw UserError(
        fmt::format("another program (pid {}) is listening on {}; stop it, or choose "
                    "another path with --socket",
                    *pid, path));
  }
  unlink(path.c_str());
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

HandoverServer::HandoverServer(std::string path, HandoverPolicy policy)
    : path_(std::move(path)), policy_(std::move(policy)) {
  const sockaddr_un address = socket_address(path_);
  if (!policy_.group.empty()) {
    const group* entry = getgrnam(policy_.group.c_str());
    if (entry == nullptr) {
      throw UserError(fmt::format(
          "socket_group \"{0}\" does not exist; create it with: groupadd {0}", policy_.group));
    }
    gid_ = entry->gr_gid;
  }
  std::error_code error;
  const auto directory = std::filesystem::path(path_).parent_path();
  if (!directory.empty()) std::filesystem::create_directories(directory, error);
  if (error) {
    throw UserError(
        fmt::format("cannot create the directory {}: {}; choose another path with --socket",
                    directory.string(), error.message()));
  }
  lock_ = take_lock(path_);
  clear_stale_socket(path_, address);
  listener_ = Descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // Only the group gets in; the check of each visitor comes on top.
  const mode_t mask = umask(gid_ == static_cast<gid_t>(-1) ? 0177 : 0117);
  const int bound =
      ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  umask(mask);
  if (bound != 0 || listen(listener_.get(), SOMAXCONN) != 0) {
    throw UserError(with_errno("cannot listen on " + path_));
  }
  if (gid_ != static_cast<gid_t>(-1) && chown(path_.c_str(), static_cast<uid_t>(-1), gid_) != 0) {
    throw UserError(with_errno("cannot give " + path_ + " to group " + policy_.group));
  }
}

HandoverServer::~HandoverServer() {
  if (!listener_) return;
  unlink(path_.c_str());
  unlink((path_ + ".lock").c_str());
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
  if (peer.uid == 0 || peer.uid == geteuid()) return Handover::granted;
  if (gid_ == static_cast<gid_t>(-1)) return Handover::refused_user;
  if (peer.gid == gid_) return Handover::granted;
  const auto groups = groups_of(connection);
  return std::find(groups.begin(), groups.end(), gid_) != groups.end() ? Handover::granted
                                                                       : Handover::refused_user;
}

void HandoverServer::serve(const Segment& segment, const std::function<void(Visitor&)>& report) {
  const int descriptors[] = {segment.structure_fd(), segment.hints_fd()};
  for (;;) {
    Descriptor connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection) return;
    ucred peer{};
    socklen_t length = sizeof peer;
    if (getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) continue;
    HandoverMessage message;
    message.answer = judge(connection.get(), peer);
    message.structure_size = segment.structure_size();
    message.hints_size = segment.hints_size();
    send_with_descriptors(connection.get(), std::as_bytes(std::span(&message, 1)),
                          message.answer == Handover::granted ? std::span<const int>(descriptors)
                                                              : std::span<const int>());
    const bool may_command =
        message.answer == Handover::granted && (peer.uid == 0 || peer.uid == geteuid());
    Visitor visitor{peer.pid, peer.uid, message.answer, may_command, std::move(connection)};
    report(visitor);
  }
}

}  // namespace portpool
