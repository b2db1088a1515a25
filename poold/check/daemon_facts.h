// The daemon that a process is meant to use: is there one, does it live, and may the process reach
// it?
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "base/file_identity.h"
#include "check/process_facts.h"
#include "portpool/structure.h"

namespace portpool::check {

enum class DaemonState {
  alive,
  silent,   // its heartbeat has stopped, or it does not answer
  absent,   // nobody listens
  unknown,  // it cannot be looked at; `trouble` says why
};

struct DaemonFacts {
  std::string socket;  // as the process names it
  DaemonState state = DaemonState::absent;
  std::string trouble;
  bool file_is_there = false;   // something is at that path, in the process's own file system
  bool may_connect = true;      // the modes of the socket and its directories let the process
  bool elsewhere = false;       // it is in another network namespace than this command
  ino_t network_namespace = 0;  // 0: not known
  ino_t structure = 0;          // of its segment; 0: not known
  Mode mode = Mode::pool;
};

class Daemons {
 public:
  // `asked`: the socket that the command was told, for processes that name none.
  explicit Daemons(std::string asked) : asked_(std::move(asked)) {}

  // Takes up to two seconds where the daemon hangs, once for each daemon.
  DaemonFacts asked();
  DaemonFacts of(const ProcessFacts& process);

 private:
  DaemonFacts at(const std::string& path);

  std::string asked_;
  std::map<std::string, DaemonFacts> known_;  // by the path that led there
};

}  // namespace portpool::check
