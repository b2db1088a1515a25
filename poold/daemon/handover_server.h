// The UNIX socket on which processes ask for the segment.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "base/descriptor.h"
#include "lanes/segment.h"
#include "portpool/handover.h"
#include "portpool/segment.h"

namespace portpool {

struct HandoverPolicy {
  std::string group;                   // its members may attach; empty: none
  NetworkNamespace network_namespace;  // who is in another one is refused
};

class HandoverServer {
 public:
  // Listens on `path`. A socket file that nobody listens on is replaced; a live daemon, a file that
  // is no socket, a missing group: UserError. The directory is made when it is missing (mode 0755).
  HandoverServer(std::string path, HandoverPolicy policy);
  ~HandoverServer();  // removes the socket file
  HandoverServer(const HandoverServer&) = delete;
  HandoverServer& operator=(const HandoverServer&) = delete;

  int fd() const { return listener_.get(); }
  const std::string& path() const { return path_; }

  struct Visitor {
    pid_t pid;  // in poold's pid namespace; 0 when it cannot be seen from here
    uid_t uid;
    Handover answer;
    bool may_command;       // root, or poold's own user
    Descriptor connection;  // for whoever takes it; else closed
  };
  // Accepts everybody who waits, hands `segment` over or refuses, and reports each.
  void serve(const Segment& segment, const std::function<void(Visitor&)>& report);

 private:
  Handover judge(int connection, const ucred& peer) const;

  std::string path_;
  HandoverPolicy policy_;
  gid_t gid_ = static_cast<gid_t>(-1);
  Descriptor lock_;
  Descriptor listener_;
};

}  // namespace portpool
