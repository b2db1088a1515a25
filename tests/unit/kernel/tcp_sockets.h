// Small owners of TCP sockets for tests.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "portpool/endpoint.h"

namespace portpool::kernel {

inline Address address(const std::string& text) {
  in_addr v4;
  if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) return address_from_v4(v4);
  in6_addr v6{};
  EXPECT_EQ(::inet_pton(AF_INET6, text.c_str(), &v6), 1) << text;
  return address_from_v6(v6);
}

class TcpSocket {
 public:
  explicit TcpSocket(int family) : family_(family), fd_(::socket(family, SOCK_STREAM, 0)) {
    EXPECT_GE(fd_, 0);
  }
  TcpSocket(int family, int fd) : family_(family), fd_(fd) {}
  TcpSocket(TcpSocket&& other) noexcept
      : family_(other.family_), fd_(std::exchange(other.fd_, -1)) {}
  TcpSocket& operator=(TcpSocket&&) = delete;
  ~TcpSocket() { close(); }

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  void bind(const Endpoint& to) {
    sockaddr_storage raw;
    const socklen_t length = sockaddr_from_endpoint(to, family_, raw);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&raw), length), 0) << errno;
  }
  void listen() { EXPECT_EQ(::listen(fd_, 64), 0) << errno; }
  void connect(const Endpoint& to) {
    sockaddr_storage raw;
    const socklen_t length = sockaddr_from_endpoint(to, family_, raw);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&raw), length), 0) << errno;
  }
  TcpSocket accept() { return {family_, ::accept(fd_, nullptr, nullptr)}; }

  Endpoint local() const { return name(::getsockname); }
  Endpoint remote() const { return name(::getpeername); }

 private:
  Endpoint name(int (*ask)(int, sockaddr*, socklen_t*)) const {
    sockaddr_storage raw{};
    socklen_t length = sizeof raw;
    Endpoint result;
    EXPECT_EQ(ask(fd_, reinterpret_cast<sockaddr*>(&raw), &length), 0) << errno;
    EXPECT_TRUE(endpoint_from_sockaddr(reinterpret_cast<sockaddr*>(&raw), length, result));
    return result;
  }

  int family_;
  int fd_;
};

inline TcpSocket listener(int family, const std::string& on) {
  TcpSocket result(family);
  result.bind({address(on), 0});
  result.listen();
  return result;
}

struct Connection {
  TcpSocket client;
  TcpSocket server;
};

inline Connection connection(TcpSocket& to, int family, const Endpoint& destination) {
  TcpSocket client(family);
  client.connect(destination);
  return {std::move(client), to.accept()};
}

}  // namespace portpool::kernel
