// Pointers that lead nowhere: the kernel's error, in the kernel's order of errors, and no signal.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "system/integration/common.h"

namespace portpool::test {
namespace {

constexpr std::size_t kPage = 4096;

struct Pointer {
  const char* name;
  char* address;
};

// `content` is what can be read at those that can be read, or begin to be.
std::vector<Pointer> pointers(const SocketAddress& content) {
  const auto map = [](std::size_t size, int protection) {
    void* memory = mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_THAT(memory != MAP_FAILED);
    return static_cast<char*>(memory);
  };
  char* readable = map(kPage, PROT_READ | PROT_WRITE);
  std::memcpy(readable, &content.storage, sizeof content.storage);
  char* const border = map(2 * kPage, PROT_READ | PROT_WRITE) + kPage;
  CHECK_THAT(mprotect(border, kPage, PROT_NONE) == 0);
  std::vector<Pointer> all{{"null", nullptr},
                           {"4", reinterpret_cast<char*>(4)},
                           {"8", reinterpret_cast<char*>(8)},
                           {"kernel", reinterpret_cast<char*>(~std::uintptr_t{0} - 4095)},
                           {"last byte", reinterpret_cast<char*>(~std::uintptr_t{0})},
                           {"forbidden", border},
                           {"readable", readable}};
  char* const unmapped = map(kPage, PROT_READ);
  CHECK_THAT(munmap(unmapped, kPage) == 0);
  all.push_back({"unmapped", unmapped});
  for (const auto& [name, readable_bytes] : {std::pair{"1 byte", 1},
                                             {"2 bytes", 2},
                                             {"15 bytes", 15},
                                             {"16 bytes", 16},
                                             {"28 bytes", 28}}) {
    // Each in a mapping of its own, so that they do not overwrite one another.
    char* const end = map(2 * kPage, PROT_READ | PROT_WRITE) + kPage;
    std::memcpy(end - readable_bytes, &content.storage, static_cast<std::size_t>(readable_bytes));
    CHECK_THAT(mprotect(end, kPage, PROT_NONE) == 0);
    all.push_back({name, end - readable_bytes});
  }
  return all;
}

int make(const std::string& kind) {
  if (kind == "tcp") return tcp_socket(AF_INET);
  if (kind == "tcp6") return tcp_socket(AF_INET6);
  if (kind == "udp") return socket(AF_INET, SOCK_DGRAM, 0);
  if (kind == "unix") return socket(AF_UNIX, SOCK_STREAM, 0);
  if (kind == "duplicate") {
    const int fd = tcp_socket(AF_INET);
    const int second = dup(fd);
    close(fd);
    return second;
  }
  if (kind == "deferred") {
    const int fd = tcp_socket(AF_INET);
    CHECK_THAT(bind_error(fd, SocketAddress("127.0.0.1:0")) == 0);
    return fd;
  }
  int ends[2];
  CHECK_THAT(pipe(ends) == 0);
  close(ends[1]);
  if (kind == "closed") close(ends[0]);
  return ends[0];
}

const std::vector<std::string> kKinds{"tcp",       "tcp6",     "udp",  "unix",
                                      "duplicate", "deferred", "pipe", "closed"};

std::string outcome(int result) {
  return result == 0 ? "ok" : std::to_string(result) + " " + error_name(errno);
}

GUEST(connect_and_bind_wildly) {
  const bool connects = arguments.at(0) == "connect";
  const auto all = pointers(SocketAddress(arguments.at(1)));
  for (const std::string& kind : kKinds) {
    for (const Pointer& pointer : all) {
      for (const unsigned length : {0U, 1U, 2U, 8U, 15U, 16U, 24U, 28U, 128U, 129U, 0x7FFFFFFFU,
                                    0x80000000U, 0xFFFFFFFFU}) {
        const int fd = make(kind);
        const auto* address = reinterpret_cast<const sockaddr*>(pointer.address);
        errno = 0;
        const int result = connects ? connect(fd, address, length) : bind(fd, address, length);
        say(kind + ", " + pointer.name + ", " + std::to_string(length) + ": " + outcome(result));
        if (connects && result == 0)
          close_with_reset(fd);
        else
          close(fd);
      }
    }
  }
}

GUEST(asks_for_names_wildly) {
  const auto all = pointers(SocketAddress("127.0.0.1:9"));
  const auto lengths = pointers(SocketAddress("127.0.0.1:9"));
  for (const std::string& kind : kKinds) {
    for (const Pointer& address : all) {
      for (const Pointer& length : lengths) {
        const int fd = make(kind);
        if (std::string(length.name) == "readable") {
          const int room = 16;
          std::memcpy(length.address, &room, sizeof room);
        }
        errno = 0;
        const int result = getsockname(fd, reinterpret_cast<sockaddr*>(address.address),
                                       reinterpret_cast<socklen_t*>(length.address));
        say(kind + ", " + address.name + ", " + length.name + ": " + outcome(result));
        close(fd);
      }
    }
    for (const Pointer& value : all) {
      for (const int name : {SO_LINGER, SO_REUSEADDR, SO_BINDTODEVICE, SO_KEEPALIVE}) {
        for (const unsigned length : {0U, 1U, 4U, 8U, 0xFFFFFFFFU}) {
          const int fd = make(kind);
          errno = 0;
          const int result = setsockopt(fd, SOL_SOCKET, name, value.address, length);
          say(kind + ", " + value.name + ", option " + std::to_string(name) + ", " +
              std::to_string(length) + ": " + outcome(result));
          close(fd);
        }
      }
    }
  }
}

// A wild pointer on a socket that is connected changes nothing about it.
GUEST(connected_and_wild) {
  const SocketAddress destination(arguments.at(0));
  for (const Pointer& pointer : pointers(destination)) {
    for (const unsigned length : {0U, 1U, 16U, 128U, 0xFFFFFFFFU}) {
      const int fd = connected_socket(destination);
      CHECK_THAT(fd >= 0);
      const auto* address = reinterpret_cast<const sockaddr*>(pointer.address);
      errno = 0;
      say(std::string(pointer.name) + ": " + outcome(connect(fd, address, length)));
      CHECK_THAT(echo_round_trip(fd));
      CHECK_THAT(connect_error(fd, destination) == EISCONN);
      close_with_reset(fd);
    }
  }
}

TEST_F(PooledNet, WildPointers) {
  expect_same_as_native("connect_and_bind_wildly", poold.shim(), {"connect", kEcho});
  expect_same_as_native("connect_and_bind_wildly", poold.shim(), {"bind", "127.0.0.1:0"});
  expect_same_as_native("asks_for_names_wildly", poold.shim());
  expect_same_as_native("connected_and_wild", poold.shim(), {kEcho});
  // The good ones among them were the pool's.
  EXPECT_GT(pool_connects(poold.status()), 10U);
}

}  // namespace
}  // namespace portpool::test
