// Hands the segment to the processes that ask for it at the UNIX socket.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>

#include "base/descriptor.h"
#include "daemon/event_loop.h"
#include "daemon/socket_file.h"
#include "lanes/segment.h"
#include "portpool/handover.h"
#include "portpool/segment.h"

namespace portpool {

struct HandoverPolicy {
  gid_t group = SocketFile::kNoGroup;  // its members may attach
  bool descendants = false;            // those of this process may, whoever they have become
  NetworkNamespace network_namespace;  // who is in another one is refused
};

// The group of that name, SocketFile::kNoGroup for "". UserError: there is none.
gid_t group_named(const std::string& name);

class HandoverServer {
 public:
  struct Visitor {
    pid_t pid;  // in poold's pid namespace; 0 when it cannot be seen from here
    uid_t uid;
    Handover answer;
    bool only_listens;      // it has said so: a program under the library
    bool may_command;       // root, or poold's own user
    Descriptor connection;  // for whoever takes it; else closed
  };

  // Serves whoever comes while `loop` runs, in turns, and calls `report` for each; those who have
  // gone before their turn came are passed over. Keeps the socket where it belongs
  // (SocketFile::mend()). `segment` must outlive the object; `loop` too, and not run after its end.
  HandoverServer(EventLoop& loop, SocketFile file, HandoverPolicy policy, const Segment& segment,
                 std::function<void(Visitor&)> report);
  ~HandoverServer();
  HandoverServer(const HandoverServer&) = delete;
  HandoverServer& operator=(const HandoverServer&) = delete;

  const std::string& path() const { return file_.path(); }
  // Why programs that start now cannot attach; "": they can.
  std::string trouble() const;
  // For a successor, while this one still listens.
  const SocketFile& file() const { return file_; }
  // Stops listening, and leaves the socket and its lock to a successor.
  SocketFile::Handles give_up();
  // Serves those who wait, while the loop does not run. Any number of times.
  void serve_turn();

 private:
  enum class Accepted { somebody, nobody, nothing_to_accept_with };

  void watch();
  void unwatch();
  Accepted serve_one(int listener);
  Accepted serve_without_descriptors(int listener);
  void greet(Descriptor connection, bool may_stay);
  Handover judge(int connection, const ucred& peer) const;
  bool may_attach(int connection, const ucred& peer) const;
  void mend();
  void note_shortage();
  void note_plenty();

  EventLoop& loop_;
  SocketFile file_;
  HandoverPolicy policy_;
  const Segment& segment_;
  std::function<void(Visitor&)> report_;
  int resume_timer_;
  int mend_timer_;
  bool watching_ = false;
  Descriptor spare_;  // given up to take a visitor in when there is no other
  bool short_ = false;
  std::chrono::steady_clock::time_point short_since_;
};

}  // namespace portpool
