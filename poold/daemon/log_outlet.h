// Where log lines leave the process: a descriptor that others share, that somebody may not read
// from, and whose reader may go away.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "base/descriptor.h"

namespace portpool {

class LogOutlet {
 public:
  // `fd` stays the caller's, and its file description as it is: O_NONBLOCK there would be seen by
  // everybody who shares it. Throws std::system_error.
  explicit LogOutlet(int fd);

  // Writes `text`, for as long as it takes until end_by(). False when it was lost, or its rest: the
  // reader has gone, or the time is over. From one thread.
  bool write(std::string_view text);

  // From then on nothing is waited for any more; what can be written at once still is. From any
  // thread.
  void end_by(std::chrono::steady_clock::time_point time);

 private:
  bool await_room();
  bool pause();
  int milliseconds_left() const;

  const int fd_;
  Descriptor own_;  // a pipe or terminal opened once more, so as to be non-blocking for us alone
  bool is_socket_ = false;
  bool may_block_ = false;                 // a pipe or terminal that could not be
  Descriptor ending_;                      // an eventfd that becomes readable in end_by()
  std::atomic<std::int64_t> end_ns_ = -1;  // of the steady clock; -1: not yet known
};

// Whether `fd` leads to systemd's journal: JOURNAL_STREAM names its device and inode
// (systemd.exec(5)).
bool is_journal(int fd);

}  // namespace portpool
