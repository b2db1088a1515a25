#include "daemon/socket_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"
#include "portpool/handover.h"

namespace portpool {
namespace {

// Visitors who wait to be accepted; more of them wait for a place here (unix(7)). Few enough for
// the last one to be served in some milliseconds.
constexpr int kQueue = 512;

constexpr std::chrono::milliseconds kPatience{1000};
constexpr std::chrono::milliseconds kPatienceWithListener{300};

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

// The path that a socket is bound to; empty: none, or an abstract name.
std::string bound_path(int socket) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  const std::size_t before = offsetof(sockaddr_un, sun_path);
  if (address.sun_family != AF_UNIX || length <= before) return {};
  // The kernel counts the final 0 in; a path of full length has none.
  const std::string path(address.sun_path, length - before);
  return path.substr(0, path.find('\0'));
}

void require_listening(int socket) {
  int listens = 0;
  int type = 0;
  int domain = 0;
  socklen_t length = sizeof(int);
  const bool known = getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 &&
                     getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
                     getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0;
  if (!known || listens == 0 || type != SOCK_STREAM || domain != AF_UNIX) {
    throw UserError(fmt::format(
        "descriptor {} was handed over to listen on but is not a UNIX stream socket that listens "
        "(systemd: ListenStream= with a path)",
        socket));
  }
}

// So that those who ask who listens here (SO_PEERCRED) hear of this process: the kernel notes it at
// each listen().
void listen_as_this_process(int socket) { listen(socket, kQueue); }

// The pid of whoever listens at `address`, 0 when it cannot be seen; nullopt when nobody does.
std::optional<pid_t> listener_at(const sockaddr_un& address) {
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) throw UserError(with_errno("cannot open a socket"));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EAGAIN) {
    return std::nullopt;
  }
  ucred peer{};
  socklen_t length = sizeof peer;
  getsockopt(probe.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length);
  return peer.pid;
}

LockFile take_lock(const std::string& path) {
  auto lock = LockFile::try_lock(path + ".lock");
  if (!lock) {
    throw UserError(fmt::format(
        "another poold is running on {}; stop it, or choose another path with --socket", path));
  }
  return *std::move(lock);
}

// Whoever has the lock may be about to end, or to begin if it does not listen: the descriptors of a
// process that was killed are closed one by one.
LockFile await_lock(const std::string& path, const sockaddr_un& address) {
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    if (auto lock = LockFile::try_lock(path + ".lock")) return *std::move(lock);
    const auto patience = listener_at(address) ? kPatienceWithListener : kPatience;
    if (std::chrono::steady_clock::now() - begin >= patience) return take_lock(path);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
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

std::string folder_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

void make_folder(const std::string& path) {
  std::error_code error;
  const std::string folder = folder_of(path);
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (error) {
    throw UserError(
        fmt::format("cannot create the directory {}: {}; choose another path with --socket", folder,
                    error.message()));
  }
}

// Where it has that group already, a filter of system calls may forbid what is not needed.
bool give_to_group(const std::string& path, gid_t group) {
  struct stat info {};
  return (lstat(path.c_str(), &info) == 0 && info.st_gid == group) ||
         lchown(path.c_str(), static_cast<uid_t>(-1), group) == 0;
}

Descriptor listen_on(const std::string& path, gid_t group, bool everybody) {
  const sockaddr_un address = socket_address(path);
  clear_stale_socket(path, address);
  Descriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) throw UserError(with_errno("cannot open a socket"));
  // The check of each visitor comes on top.
  const mode_t mask = umask(everybody ? 0111 : group == SocketFile::kNoGroup ? 0177 : 0117);
  const int bound =
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  umask(mask);
  if (bound != 0) throw UserError(with_errno("cannot listen on " + path));
  std::string failed;
  if (group != SocketFile::kNoGroup && !give_to_group(path, group)) {
    failed = with_errno(fmt::format("cannot give {} to group {}", path, group));
  } else if (listen(listener.get(), kQueue) != 0) {
    failed = with_errno("cannot listen on " + path);
  }
  if (!failed.empty()) {
    unlink(path.c_str());
    throw UserError(failed);
  }
  return listener;
}

// Of the file that `listener`, whose name is `path`, is bound to.
std::optional<FileIdentity> identity_of_file(int listener, const std::string& path) {
  // SIOCUNIXFILE of linux/un.h (Linux 4.15), which cannot be included beside sys/un.h. Needs
  // CAP_NET_ADMIN.
  constexpr unsigned long kOpenFile = SIOCPROTOPRIVATE;
  if (const Descriptor file(ioctl(listener, kOpenFile)); file) return identity_of(file.get());
  return identity_at(path);
}

}  // namespace

SocketFile::SocketFile(std::string path, gid_t group, Descriptor listener,
                       std::optional<LockFile> lock, bool owns_file)
    : path_(std::move(path)),
      group_(group),
      owns_file_(owns_file),
      listener_(std::move(listener)),
      lock_(std::move(lock)) {
  if (owns_file_) remember_place();
  take_touch_back();
}

SocketFile SocketFile::make(std::string path, gid_t group, bool everybody) {
  const sockaddr_un address = socket_address(path);  // its length, before anything is made
  make_folder(path);
  LockFile lock = await_lock(path, address);
  Descriptor listener = listen_on(path, group, everybody);
  SocketFile file(std::move(path), group, std::move(listener), std::move(lock), true);
  file.everybody_ = everybody;
  return file;
}

SocketFile SocketFile::take_over(std::string path, gid_t group, Handles handles) {
  require_listening(handles.listener.get());
  if (const std::string bound = bound_path(handles.listener.get()); bound != path) {
    throw UserError(fmt::format("the socket handed over is bound to {}, not to {}", bound, path));
  }
  std::optional<LockFile> lock;
  // Without one, mend() makes it.
  if (handles.lock) lock = LockFile::take_over(path + ".lock", std::move(handles.lock));
  listen_as_this_process(handles.listener.get());
  // As this poold's own configuration says.
  give_to_group(path, group == kNoGroup ? getegid() : group);
  (void)!chmod(path.c_str(), group == kNoGroup ? 0600 : 0660);
  return {std::move(path), group, std::move(handles.listener), std::move(lock), true};
}

SocketFile SocketFile::activated(Descriptor listener) {
  require_listening(listener.get());
  // It may be shared with whoever made it, and who may have made it blocking.
  fcntl(listener.get(), F_SETFL, fcntl(listener.get(), F_GETFL) | O_NONBLOCK);
  fcntl(listener.get(), F_SETFD, FD_CLOEXEC);
  listen_as_this_process(listener.get());
  std::string path = bound_path(listener.get());
  return {std::move(path), kNoGroup, std::move(listener), std::nullopt, false};
}

// Nobody else puts a socket there before this one is closed (listener_at()).
SocketFile::~SocketFile() {
  if (!listener_ || !owns_file_) return;
  if (is_in_place()) unlink(path_.c_str());
  if (lock_) lock_->remove();
}

SocketFile::Handles SocketFile::give_up() {
  Handles handles{std::move(listener_), {}};
  if (lock_) handles.lock = std::move(*lock_).release();
  lock_.reset();
  return handles;
}

// Making it touches it, too.
void SocketFile::take_touch_back() const {
  struct stat status;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (stat(path_.c_str(), &status) != 0 || !is_touched(status.st_mtim, now)) return;
  timespec times[2] = {{0, UTIME_OMIT}, now};
  times[1].tv_sec -= kTouchedNs / 1'000'000'000;
  // Of a file that is somebody else's it cannot be done; a second later it has no effect any more.
  utimensat(AT_FDCWD, path_.c_str(), times, 0);
}

bool SocketFile::is_in_place() const { return identity_ && identity_at(path_) == identity_; }

void SocketFile::remember_place() {
  identity_ = identity_of_file(listener_.get(), path_);
  struct stat status;
  const std::string folder = folder_of(path_);
  if (!folder.empty() && stat(folder.c_str(), &status) == 0) {
    folder_ = {status.st_mode & 07777U, status.st_uid, status.st_gid};
  }
}

void SocketFile::make_folder_again() const {
  const std::string folder = folder_of(path_);
  struct stat status;
  if (!folder_ || stat(folder.c_str(), &status) == 0) return;
  make_folder(path_);
  // Who might look into it might so for a reason. Without the right to give it away it is poold's.
  (void)!lchown(folder.c_str(), folder_->uid, folder_->gid);
  (void)!chmod(folder.c_str(), folder_->mode);
}

std::optional<Descriptor> SocketFile::mend() {
  take_touch_back();
  if (!owns_file_ || !listener_) return std::nullopt;
  const bool is_locked = lock_ && lock_->is_in_place();
  if (is_locked && is_in_place()) {
    said_.clear();
    return std::nullopt;
  }
  try {
    make_folder_again();
    if (!is_locked) {
      lock_ = take_lock(path_);
      spdlog::warn("{} had been removed, and has been made again", lock_->path());
    }
    if (is_in_place()) return std::nullopt;
    Descriptor before = std::exchange(listener_, listen_on(path_, group_, everybody_));
    remember_place();
    take_touch_back();
    spdlog::warn(
        "{} had been removed or replaced, and has been made again; keep what cleans that directory "
        "away from it",
        path_);
    said_.clear();
    return before;
  } catch (const UserError& error) {
    if (said_ != error.what()) {
      said_ = error.what();
      spdlog::error("programs that start now cannot attach to this poold: {}", said_);
    }
    return std::nullopt;
  }
}

}  // namespace portpool
