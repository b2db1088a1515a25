// Short forms of the socket calls that guests and tests make all the time. They call the C
// library's functions, so that under the shim they go through it.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace portpool::test {

// A socket address with its length. From "127.0.0.1:9001" or "[::1]:9001"; a v4-mapped one is
// written "[::ffff:127.0.0.1]:9001". Throws std::invalid_argument.
struct SocketAddress {
  SocketAddress() = default;
  explicit SocketAddress(const std::string& text);

  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  std::uint16_t port() const;
  std::string text() const;

  sockaddr_storage storage{};
  socklen_t length = 0;
};

// getsockname() and getpeername(); empty (family 0) when they fail.
SocketAddress local_address(int fd);
SocketAddress peer_address(int fd);
inline std::uint16_t local_port(int fd) { return local_address(fd).port(); }

// socket(), SOCK_CLOEXEC. -1 with errno when there is none.
int tcp_socket(int family, int flags = 0, int protocol = 0);

// connect() and bind(): 0 or the errno.
int connect_error(int fd, const SocketAddress& destination);
int bind_error(int fd, const SocketAddress& address);

// Waits for a non-blocking connect(): 0 or the errno that it ended with; ETIMEDOUT after a minute.
int finish_connect(int fd);

// A new blocking socket connected to `destination`; -1 with errno.
int connected_socket(const SocketAddress& destination);

// Sends a few bytes and waits for the same ones. Works for blocking and non-blocking sockets.
bool echo_round_trip(int fd);

// To the other end of a UNIX socket, and out of one, under a new number and closed on exec; whether
// that succeeded, and -1 when it did not.
bool pass_descriptor(int channel, int fd);
int take_descriptor(int channel);

// Closes with a reset, which leaves no TIME_WAIT.
void close_with_reset(int fd);

// A UNIX stream socket that listens at `path`, as poold leaves its own: with a time of change that
// lies a while back (portpool/handover.h). Throws std::system_error.
int listen_at(const std::string& path, int queue = 512);
// That time: whether somebody has set it to now since.
bool was_touched(const std::string& path);
void take_touch_back(const std::string& path);

// "EADDRNOTAVAIL"; "ok" for 0.
std::string error_name(int error);

}  // namespace portpool::test
