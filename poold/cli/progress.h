// One line on stderr that says how far a long command is; nothing when stderr is no terminal.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

namespace portpool {

class Progress {
 public:
  using Time = std::chrono::steady_clock::time_point;

  ~Progress() { clear(); }

  // True when the line is worth making anew.
  bool due(Time now) {
    if (!terminal_ || now < next_) return false;
    next_ = now + std::chrono::milliseconds(250);
    return true;
  }
  void show(const std::string& line) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    std::fflush(stderr);
    shown_ = true;
  }
  void clear() {
    if (shown_) std::fputs("\r\033[K", stderr);
    shown_ = false;
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool shown_ = false;
  Time next_{};
};

}  // namespace portpool
