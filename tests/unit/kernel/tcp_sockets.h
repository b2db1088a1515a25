// Small owners of TCP sockets for tests.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <utility>

#include "base/descriptor.h"
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
    EXPECT_TRUE(fd_);
  }
  TcpSocket(int family, Descriptor fd) : family_(family), fd_(std::move(fd)) {}

  void close() { fd_ = Descriptor(); }

  void bind(const Endpoint& to) {
    sockaddr_storage raw;
    const socklen_t length = sockaddr_from_endpoint(to, family_, raw);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&raw), length), 0) << errno;
  }
  void listen() { EXPECT_EQ(::listen(fd_.get(), 64), 0) << errno; }
  void connect(const Endpoint& to) {
    sockaddr_storage raw;
    const socklen_t length = sockaddr_from_endpoint(to, family_, raw);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&raw), length), 0) << errno;
  }
  TcpSocket accept() { return {family_, Descriptor(::accept(fd_.get(), nullptr, nullptr))}; }

  Endpoint local() const { return name(::getsockname); }
  Endpoint remote() const { return name(::getpeername); }

 private:
  Endpoint name(int (*ask)(int, sockaddr*, socklen_t*)) const {
    sockaddr_storage raw{};
    socklen_t length = sizeof raw;
    Endpoint result;
    EXPECT_EQ(ask(fd_.get(), reinterpret_cast<sockaddr*>(&raw), &length), 0) << errno;
    EXPECT_TRUE(endpoint_from_sockaddr(reinterpret_cast<sockaddr*>(&raw), length, result));
    return result;
  }

  int family_;
  Descriptor fd_;
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
