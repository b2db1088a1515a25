// Turns the segment's futex, which clients ring without owning a descriptor, into one that the
// event loop can watch. A thread of its own waits on the futex.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "base/descriptor.h"

namespace portpool {

class Doorbell {
 public:
  // `futex` is that of a new segment: 0 means never rung.
  explicit Doorbell(std::atomic<std::uint32_t>& futex);
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // Readable when the bell was rung since the last acknowledge().
  int fd() const { return event_.get(); }
  void acknowledge();

 private:
  void wait();

  std::atomic<std::uint32_t>& futex_;
  Descriptor event_;
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

}  // namespace portpool
