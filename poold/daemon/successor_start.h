// SIGUSR2: a successor is started from the same path with the same arguments, and takes over. The
// file at that path may be of another version by then.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/descriptor.h"
#include "daemon/event_loop.h"

namespace portpool {

class SuccessorStart {
 public:
  // Remembers where the program was started from: once its file is replaced, the kernel gives
  // another name. The loop must outlive the object.
  explicit SuccessorStart(EventLoop& loop);
  ~SuccessorStart();
  SuccessorStart(const SuccessorStart&) = delete;
  SuccessorStart& operator=(const SuccessorStart&) = delete;

  // Starts one, with these variables ("NAME=value") beside the environment, unless one is on its
  // way already. Says in the log what goes wrong, also when it ends before it has taken over.
  void start(const std::vector<std::string>& environment);

 private:
  void note_end();

  EventLoop& loop_;
  std::string program_;
  std::vector<std::string> arguments_;
  pid_t pid_ = -1;
  Descriptor process_;  // a pidfd
};

}  // namespace portpool
