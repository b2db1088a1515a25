#include "observe/segment_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>

#include "base/descriptor_passing.h"
#include "base/error.h"
#include "base/mapping.h"
#include "portpool/handover.h"
#include "portpool/memory_file.h"

namespace portpool {
namespace {

constexpr int kPatienceMs = 2000;

// Sizes of a file that is open; 0 when it cannot be told.
std::uint64_t size_of(const Descriptor& file) {
  struct stat info {};
  return file && fstat(file.get(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

// The listener's own descriptors of the segment, when its /proc entry is open to us.
SegmentFiles segment_through_proc(const Descriptor& socket, SegmentReader::Access access) {
  SegmentFiles files;
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.pid <= 0) {
    return files;
  }
  std::error_code error;
  const std::filesystem::path folder = fmt::format("/proc/{}/fd", peer.pid);
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.starts_with(fmt::format("/memfd:{} ", kStructureName))) {
      files.structure = Descriptor(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    } else if (target.starts_with(fmt::format("/memfd:{} ", kHintsName))) {
      const int mode = access == SegmentReader::Access::trace ? O_RDWR : O_RDONLY;
      files.hints = Descriptor(::open(entry.path().c_str(), mode | O_CLOEXEC));
    }
  }
  files.structure_size = size_of(files.structure);
  files.hints_size = size_of(files.hints);
  return files;
}

[[noreturn]] void refuse_layout(unsigned major, unsigned minor) {
  throw SegmentError(
      NoSegment::unusable,
      fmt::format("the daemon has layout {}.{}, this program {}.{}; use the poold of the "
                  "daemon's own build",
                  major, minor, kLayoutMajor, kLayoutMinor));
}

}  // namespace

SegmentFiles receive_segment(const Descriptor& socket, const std::string& path) {
  pollfd ready{socket.get(), POLLIN, 0};
  if (poll(&ready, 1, kPatienceMs) != 1) {
    throw SegmentError(NoSegment::silent,
                       fmt::format("the daemon on {} does not answer; is it stopped?", path));
  }
  HandoverMessage message{};
  Received received =
      receive_with_descriptors(socket.get(), std::as_writable_bytes(std::span(&message, 1)));
  if (received.bytes < offsetof(HandoverMessage, answer) || message.magic != kMagic) {
    throw SegmentError(NoSegment::unusable, fmt::format("what listens on {} is not poold", path));
  }
  if (message.layout_major != kLayoutMajor) {
    refuse_layout(message.layout_major, message.layout_minor);
  }
  if (message.answer == Handover::refused_user) {
    throw SegmentError(
        NoSegment::not_permitted,
        "the daemon refused this user; run as root, or as a member of its socket_group");
  }
  if (message.answer == Handover::refused_netns) {
    throw SegmentError(
        NoSegment::elsewhere,
        "the daemon is in another network namespace; run this command in the same one");
  }
  if (received.descriptors.size() != 2) {
    throw SegmentError(NoSegment::unusable,
                       fmt::format("the daemon on {} handed over no segment", path));
  }
  return {std::move(received.descriptors[0]), std::move(received.descriptors[1]),
          message.structure_size, message.hints_size};
}

Descriptor connect_to_daemon(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw SegmentError(NoSegment::unusable,
                       fmt::format("socket path \"{}\" is longer than {} bytes", path,
                                   sizeof address.sun_path - 1));
  }
  // An empty one would be that of an abstract socket.
  if (path.empty()) {
    throw UserError(
        "the path of the daemon's socket is empty; name it with --socket or PORTPOOL_SOCKET");
  }
  path.copy(address.sun_path, path.size());
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // Where many knock at once one has to wait for a place in the queue (unix(7), SO_SNDTIMEO).
  const timeval patience{kPatienceMs / 1000, 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    fcntl(socket.get(), F_SETFL, O_NONBLOCK);
    return socket;
  }
  const int reason = errno;
  struct stat info {};
  if (reason == ECONNREFUSED && stat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
    throw UserError(fmt::format(
        "{} is not a socket but {}; name the daemon's with --socket or PORTPOOL_SOCKET", path,
        S_ISDIR(info.st_mode)   ? "a directory"
        : S_ISREG(info.st_mode) ? "a file"
                                : "something else"));
  }
  if (reason == ENOENT || reason == ECONNREFUSED) {
    throw SegmentError(
        NoSegment::absent,
        fmt::format("no poold is running on {}; start one with \"poold serve\", or name its "
                    "socket with --socket or PORTPOOL_SOCKET",
                    path));
  }
  if (reason == EACCES || reason == EPERM) {
    throw SegmentError(
        NoSegment::not_permitted,
        fmt::format("no permission to open {}; run as root, or as a member of the daemon's "
                    "socket_group",
                    path));
  }
  if (reason == EAGAIN) {
    throw SegmentError(
        NoSegment::silent,
        fmt::format("the daemon on {} does not come round to those who ask; is it stopped?", path));
  }
  throw SegmentError(NoSegment::absent,
                     fmt::format("cannot connect to {}: {}", path, std::strerror(reason)));
}

SegmentReader::SegmentReader(const std::string& socket_path, Access access) {
  const Descriptor socket = connect_to_daemon(socket_path);
  SegmentFiles files = segment_through_proc(socket, access);
  if (!files.structure || !files.hints) files = receive_segment(socket, socket_path);
  const std::string damaged =
      fmt::format("the segment of the daemon on {} is damaged", socket_path);
  if (!is_memory_file(files.structure.get(), files.structure_size) ||
      !is_memory_file(files.hints.get(), files.hints_size)) {
    throw SegmentError(NoSegment::unusable, damaged);
  }
  using boost::interprocess::mapped_region;
  const auto hints_mode =
      access == Access::trace ? boost::interprocess::read_write : boost::interprocess::read_only;
  if (struct stat info{}; fstat(files.structure.get(), &info) == 0) structure_inode_ = info.st_ino;
  structure_ = mapped_region(Mappable{files.structure.get()}, boost::interprocess::read_only, 0,
                             files.structure_size);
  hints_ = mapped_region(Mappable{files.hints.get()}, hints_mode, 0, files.hints_size);
  const auto& header = *static_cast<const StructureHeader*>(structure_.get_address());
  switch (SegmentView::open(structure_.get_address(), structure_.get_size(), hints_.get_address(),
                            hints_.get_size(), view_)) {
    case SegmentCheck::ok:
      return;
    case SegmentCheck::other_layout:
      refuse_layout(header.layout_major, header.layout_minor);
    default:
      throw SegmentError(NoSegment::unusable, damaged);
  }
}

}  // namespace portpool
