// Standard output of a command that prints until it is told to stop, by SIGINT, SIGTERM or SIGHUP,
// or by its reader going away.
#pragma once

#include <chrono>
#include <string_view>

#include "base/descriptor.h"

namespace portpool {

class Outlet {
 public:
  // Takes over those signals, for the whole process and for good. Throws std::system_error.
  Outlet();

  // Writes all of `text`, however long the reader takes; but after the end only what it takes at
  // once. Throws UserError when the output fails (no space left).
  void print(std::string_view text);
  // Sleeps for that long, or until the end.
  void wait(std::chrono::milliseconds time);

  bool ended() const { return ended_; }
  // Nobody is left to read, so nobody cares for a last word either.
  bool closed() const { return closed_; }

 private:
  // Waits for `events` of the output or for the end; true when the output has them.
  bool ready(short events, std::chrono::milliseconds time);

  Descriptor signals_;
  bool ended_ = false;
  bool closed_ = false;
};

}  // namespace portpool
