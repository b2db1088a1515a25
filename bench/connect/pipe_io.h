// Pipes between the driver and its children: whole messages or nothing.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <system_error>

#include "base/descriptor.h"

namespace portpool::bench {

inline bool write_all(int fd, const void* data, std::size_t size) {
  const auto* next = static_cast<const unsigned char*>(data);
  while (size > 0) {
    const ssize_t done = ::write(fd, next, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    next += done;
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

inline bool read_all(int fd, void* data, std::size_t size) {
  auto* next = static_cast<unsigned char*>(data);
  while (size > 0) {
    const ssize_t done = ::read(fd, next, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    next += done;
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

// A pipe whose ends are closed on exec and with the object.
class Pipe {
 public:
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      throw std::system_error(errno, std::generic_category(), "pipe");
    }
    read_end_ = Descriptor(ends[0]);
    write_end_ = Descriptor(ends[1]);
  }

  int read_end() const { return read_end_.get(); }
  int write_end() const { return write_end_.get(); }
  void close_read_end() { read_end_ = Descriptor(); }
  void close_write_end() { write_end_ = Descriptor(); }

 private:
  Descriptor read_end_;
  Descriptor write_end_;
};

}  // namespace portpool::bench
