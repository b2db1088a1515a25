// For as long as it lives this process, or another one, can open no further file or socket.
#pragma once

#include <sys/resource.h>

#include <cerrno>
#include <system_error>

namespace portpool::test {

class NoDescriptors {
 public:
  // 0: this process.
  explicit NoDescriptors(pid_t pid = 0) : pid_(pid) {
    if (::prlimit(pid_, RLIMIT_NOFILE, nullptr, &before_) != 0) fail();
    const rlimit none{0, before_.rlim_max};
    if (::prlimit(pid_, RLIMIT_NOFILE, &none, nullptr) != 0) fail();
  }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;
  ~NoDescriptors() { ::prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr); }

 private:
  [[noreturn]] static void fail() {
    throw std::system_error(errno, std::generic_category(), "prlimit");
  }

  pid_t pid_;
  rlimit before_{};
};

}  // namespace portpool::test
