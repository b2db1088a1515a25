// A worker of a random walk, seen from the driver: a guest that does one command at a time.
//
//   command                       answer
//   connect ID DESTINATION HOW    "ok PORT ADDRESS" (its own), "failed ERRNO PORT" or "wrong-echo
//                                 PORT"; holds it
//   probe DESTINATION HOW         "ok PORT" or "failed ERRNO PORT"; closed again by a reset
//   close ID HOW                  "closed"
//   echo-all                      "ok COUNT" or "wrong ID"
//   fork                          "child PID": a child that holds the same sockets until it is
//   killed bind ID ADDRESS:PORT HOW      "ok" or "failed ERRNO"; close releases it
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>

#include "base/descriptor.h"
#include "support/guest.h"

namespace portpool::test {

class Worker {
 public:
  // Children of the worker end when the write end of the pipe `lifeline` is closed everywhere.
  // Throws std::system_error.
  Worker(const Under& under, int lifeline);
  // Kills it.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  pid_t pid() const { return pid_; }
  // Whether answer() would return, or throw, at once.
  bool says_something_within(std::chrono::milliseconds patience) const;

  void send(const std::string& command);
  // The answer to the oldest command without one. Throws std::runtime_error when the worker has
  // ended or says nothing for a minute.
  std::string answer();
  std::string ask(const std::string& command) {
    send(command);
    return answer();
  }

 private:
  [[noreturn]] static void become_worker(const Under& under, int control, int lifeline);

  pid_t pid_ = -1;
  Descriptor control_;
  std::string received_;
};

// The descriptor on which a worker finds its lifeline.
inline constexpr int kLifeline = 9;

}  // namespace portpool::test
