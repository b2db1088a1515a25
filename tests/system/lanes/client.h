// A process that makes connections at the test's word: natively, or under the shim.
#pragma once

#include <string>

#include "support/guest.h"

namespace portpool::test {

// What became of a connect().
struct Connected {
  std::string error;  // "ok", or as error_name() has it
  int fd = -1;        // in the client; closed again after an error
  std::string local;  // "127.0.0.1:20000"

  bool ok() const { return error == "ok"; }
  int port() const;
  std::string source() const;
};

// Drives the guest `puppet` (puppet.cpp), which has the list of commands.
class Client {
 public:
  explicit Client(const Under& under) : process_(start_guest("puppet", under)) {}

  // Sends a command, waits for its answer. Throws when the client ends without one.
  std::string ask(const std::string& command);

  // A new socket, bound to `source` first when there is one, and connected.
  Connected connect(const std::string& destination, const std::string& source = "");
  // Connects `count` times and keeps them; returns how many succeeded.
  int hold(const std::string& destination, int count);
  void close(int fd) { ask("close " + std::to_string(fd)); }
  // Without TIME_WAIT.
  void reset(int fd) { ask("reset " + std::to_string(fd)); }
  void reset_all() { ask("reset_all"); }

  Process& process() { return process_; }

 private:
  Process process_;
  int asked_ = 0;
};

}  // namespace portpool::test
