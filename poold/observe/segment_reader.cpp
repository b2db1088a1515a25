#include "observe/segment_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>

#include "base/descriptor.h"
#include "base/error.h"
#include "portpool/handover.h"

namespace portpool {
namespace {

constexpr int kPatienceMs = 2000;

struct Mappable {
  int fd;
  boost::interprocess::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
};

// The listener's own descriptor of the segment, when its /proc entry is open to us.
Descriptor segment_through_proc(const Descriptor& socket, int open_mode) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.pid <= 0)
    return {};
  std::error_code error;
  const std::filesystem::path folder = fmt::format("/proc/{}/fd", peer.pid);
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (target.string().starts_with("/memfd:portpool")) {
      return Descriptor(::open(entry.path().c_str(), open_mode | O_CLOEXEC));
    }
  }
  return {};
}

}  // namespace

Descriptor receive_segment(const Descriptor& socket, const std::string& path) {
  pollfd ready{socket.get(), POLLIN, 0};
  if (poll(&ready, 1, kPatienceMs) != 1) {
    throw UserError(fmt::format("the daemon on {} does not answer; is it stopped?", path));
  }
  HandoverMessage message{};
  iovec part{&message, sizeof message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC);
  int fd = -1;
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS &&
      rights->cmsg_len == CMSG_LEN(sizeof fd)) {
    std::copy_n(reinterpret_cast<const char*>(CMSG_DATA(rights)), sizeof fd,
                reinterpret_cast<char*>(&fd));
  }
  Descriptor segment(fd);
  if (got != static_cast<ssize_t>(sizeof message) || message.magic != kMagic) {
    throw UserError(fmt::format("what listens on {} is not poold", path));
  }
  if (message.answer == Handover::refused_user) {
    throw UserError(
        "the daemon refused this user; run as root, or as a member of its socket_group");
  }
  if (message.answer == Handover::refused_netns) {
    throw UserError("the daemon is in another network namespace; run this command in the same one");
  }
  return segment;
}

Descriptor connect_to_daemon(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw UserError(fmt::format("socket path \"{}\" is longer than {} bytes", path,
                                sizeof address.sun_path - 1));
  }
  path.copy(address.sun_path, path.size());
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return socket;
  }
  const int reason = errno;
  if (reason == ENOENT || reason == ECONNREFUSED) {
    throw UserError(
        fmt::format("no poold is running on {}; start one with \"poold serve\", or name its "
                    "socket with --socket or PORTPOOL_SOCKET",
                    path));
  }
  if (reason == EACCES || reason == EPERM) {
    throw UserError(
        fmt::format("no permission to open {}; run as root, or as a member of the daemon's "
                    "socket_group",
                    path));
  }
  throw UserError(fmt::format("cannot connect to {}: {}", path, std::strerror(reason)));
}

SegmentReader::SegmentReader(const std::string& socket_path, Access access) {
  const Descriptor socket = connect_to_daemon(socket_path);
  Descriptor segment = segment_through_proc(socket, access == Access::trace ? O_RDWR : O_RDONLY);
  if (!segment) segment = receive_segment(socket, socket_path);
  struct stat info {};
  if (!segment || fstat(segment.get(), &info) != 0 ||
      static_cast<std::size_t>(info.st_size) < sizeof(SegmentHeader)) {
    throw UserError(fmt::format("the daemon on {} handed over no segment", socket_path));
  }
  region_ =
      boost::interprocess::mapped_region(Mappable{segment.get()}, boost::interprocess::read_only, 0,
                                         static_cast<std::size_t>(info.st_size));
  const auto& header = *static_cast<const SegmentHeader*>(region_.get_address());
  switch (SegmentView::open(region_.get_address(), region_.get_size(), view_)) {
    case SegmentCheck::ok:
      break;
    case SegmentCheck::other_layout:
      throw UserError(
          fmt::format("the daemon has layout {}.{}, this program {}.{}; use the poold of the "
                      "daemon's own build",
                      header.layout_major, header.layout_minor, kLayoutMajor, kLayoutMinor));
    default:
      throw UserError(fmt::format("the segment of the daemon on {} is damaged", socket_path));
  }
  if (access == Access::trace) {
    header_ = boost::interprocess::mapped_region(
        Mappable{segment.get()}, boost::interprocess::read_write, 0, sizeof(SegmentHeader));
  }
}

}  // namespace portpool
