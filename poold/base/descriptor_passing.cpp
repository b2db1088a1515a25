#include "base/descriptor_passing.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace portpool {
namespace {

struct alignas(cmsghdr) Control {
  char bytes[CMSG_SPACE(kMostDescriptors * sizeof(int))];
};

msghdr header_of(iovec& part) {
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  return header;
}

void take_descriptors(cmsghdr& rights, std::vector<Descriptor>& into) {
  const std::size_t count = (rights.cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (std::size_t i = 0; i < count; ++i) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(&rights) + i * sizeof fd, sizeof fd);
    into.emplace_back(fd);
  }
}

}  // namespace

bool send_with_descriptors(int socket, std::span<const std::byte> message,
                           std::span<const int> descriptors) {
  if (descriptors.size() > kMostDescriptors) {
    errno = EINVAL;
    return false;
  }
  iovec part{const_cast<std::byte*>(message.data()), message.size()};
  msghdr header = header_of(part);
  Control control{};
  if (!descriptors.empty()) {
    header.msg_control = control.bytes;
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  }
  const ssize_t sent = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent == static_cast<ssize_t>(message.size());
}

Received receive_with_descriptors(int socket, std::span<std::byte> buffer) {
  iovec part{buffer.data(), buffer.size()};
  msghdr header = header_of(part);
  Control control{};
  header.msg_control = control.bytes;
  header.msg_controllen = sizeof control.bytes;
  ssize_t got = -1;
  do {
    got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  Received received;
  if (got < 0) return received;
  received.bytes = static_cast<std::size_t>(got);
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_RIGHTS) {
      take_descriptors(*item, received.descriptors);
    }
  }
  return received;
}

}  // namespace portpool
