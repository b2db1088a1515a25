// From the successor's side: the poold that runs on the socket is asked to hand everything over.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "daemon/socket_file.h"
#include "daemon/take_over.h"
#include "lanes/segment.h"

namespace portpool {

class Predecessor {
 public:
  // Asks the poold that listens on `path`. Null when nobody does, or when it died before it had
  // handed anything over. UserError when it is another user's, refuses, or does not answer; it goes
  // on then.
  static std::optional<Predecessor> ask(const std::string& path);
  // The same on a connection that is made already.
  static std::optional<Predecessor> ask(Descriptor connection, const std::string& path);

  // What it has handed over; each to be taken once. The files are those of `layout()`.
  MemoryFiles take_files() { return std::move(files_); }
  // Without a lock where the socket's file is not its own (socket activation).
  SocketFile::Handles take_socket() { return std::move(socket_); }
  // "3.0".
  std::string layout() const;
  bool same_layout() const {
    return answer_.layout_major == kLayoutMajor && answer_.layout_minor == kLayoutMinor;
  }
  pid_t pid() const { return pid_; }

  // All checks are done. On return this process owns what it was handed. UserError: the other has
  // withdrawn.
  void become_owner();
  // This process serves now; `adopted`: with the files that it was handed.
  void say_running(bool adopted);

  // Readable when hear_clients() has something to hear.
  int fd() const { return connection_.get(); }
  // Adds to `clients` when the list is complete. False: nothing more will come.
  bool hear_clients(std::vector<pid_t>& clients);

 private:
  explicit Predecessor(Descriptor connection) : connection_(std::move(connection)) {}

  // False: it has died.
  bool say(TakeOverStep step, std::uint32_t value = 0);
  // Until there is something to hear. UserError: not in time.
  void await();
  bool receive_estate(const std::string& path);

  Descriptor connection_;
  pid_t pid_ = 0;
  TakeOverMessage answer_;
  MemoryFiles files_;
  SocketFile::Handles socket_;
  std::vector<std::byte> farewell_;
};

}  // namespace portpool
