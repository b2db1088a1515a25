#include "support/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <stdexcept>
#include <system_error>

#include "base/descriptor_passing.h"

namespace portpool::test {
namespace {

constexpr int kPollMs = 60000;

bool wait_for(int fd, short events) {
  pollfd entry{fd, events, 0};
  int result = 0;
  do {
    result = poll(&entry, 1, kPollMs);
  } while (result < 0 && errno == EINTR);
  return result == 1;
}

SocketAddress asked(int fd, int (*question)(int, sockaddr*, socklen_t*)) {
  SocketAddress address;
  address.length = sizeof address.storage;
  if (question(fd, address.raw(), &address.length) != 0) return {};
  return address;
}

}  // namespace

SocketAddress::SocketAddress(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) throw std::invalid_argument(text + ": no port");
  std::string host = text.substr(0, colon);
  const auto port = htons(static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1))));
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = port;
    if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) != 1) throw std::invalid_argument(text);
    length = sizeof v6;
  } else {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    v4.sin_family = AF_INET;
    v4.sin_port = port;
    if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) != 1) throw std::invalid_argument(text);
    length = sizeof v4;
  }
}

std::uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
  return 0;
}

std::string SocketAddress::text() const {
  char host[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(storage).sin_addr, host, sizeof host);
    return std::string(host) + ":" + std::to_string(port());
  }
  if (family() == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr, host,
              sizeof host);
    return "[" + std::string(host) + "]:" + std::to_string(port());
  }
  return "no address";
}

SocketAddress local_address(int fd) { return asked(fd, &getsockname); }
SocketAddress peer_address(int fd) { return asked(fd, &getpeername); }

int tcp_socket(int family, int flags, int protocol) {
  return socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, protocol);
}

int connect_error(int fd, const SocketAddress& destination) {
  return connect(fd, destination.raw(), destination.length) == 0 ? 0 : errno;
}

int bind_error(int fd, const SocketAddress& address) {
  return bind(fd, address.raw(), address.length) == 0 ? 0 : errno;
}

int finish_connect(int fd) {
  if (!wait_for(fd, POLLOUT)) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

int connected_socket(const SocketAddress& destination) {
  const int fd = tcp_socket(destination.family());
  if (fd < 0) return -1;
  if (const int error = connect_error(fd, destination); error != 0) {
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

bool echo_round_trip(int fd) {
  constexpr char kText[] = "there and back";
  if (send(fd, kText, sizeof kText, MSG_NOSIGNAL) != sizeof kText) return false;
  char back[sizeof kText] = "";
  std::size_t got = 0;
  while (got < sizeof back) {
    if (!wait_for(fd, POLLIN)) return false;
    const ssize_t n = recv(fd, back + got, sizeof back - got, 0);
    if (n <= 0) return false;
    got += static_cast<std::size_t>(n);
  }
  return memcmp(back, kText, sizeof back) == 0;
}

bool pass_descriptor(int channel, int fd) {
  constexpr std::byte kFiller[1] = {};
  return send_with_descriptors(channel, kFiller, std::span(&fd, 1));
}

int take_descriptor(int channel) {
  std::byte filler[1];
  Received received = receive_with_descriptors(channel, filler);
  return received.descriptors.size() == 1 ? received.descriptors.front().release() : -1;
}

void close_with_reset(int fd) {
  const linger reset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(fd);
}

int listen_at(const std::string& path, int queue) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
      listen(fd, queue) != 0) {
    throw std::system_error(errno, std::generic_category(), "cannot listen on " + path);
  }
  take_touch_back(path);
  return fd;
}

namespace {
// Of the time that take_touch_back() sets.
constexpr std::time_t kLongAgo = 1'000'000'000;
}  // namespace

bool was_touched(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && info.st_mtim.tv_sec != kLongAgo;
}

void take_touch_back(const std::string& path) {
  const timespec times[2] = {{0, UTIME_OMIT}, {kLongAgo, 0}};
  if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) {
    throw std::system_error(errno, std::generic_category(), "cannot set the time of " + path);
  }
}

std::string error_name(int error) {
  if (error == 0) return "ok";
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "errno " + std::to_string(error);
}

}  // namespace portpool::test
