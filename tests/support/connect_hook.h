// A socket load balancer: BPF programs that rewrite the destination inside connect(), for the
// processes of a control group of the test's own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "support/sockets.h"

namespace portpool::test {

// connect() to `service` goes to one of two ports of `backend`'s address: its own and the next one,
// whichever a random bit says. Programs at cgroup/connect4 and connect6 (bpf(2), Linux 4.17).
class ConnectHook {
 public:
  enum class Names {
    show,  // getpeername() tells the backend
    hide,  // it tells the service: cgroup/getpeername4 and getpeername6 (Linux 5.8)
  };

  // Why there can be none here; empty when there can. Tries it.
  static std::string missing();

  ConnectHook(const SocketAddress& service, const SocketAddress& backend, Names names);
  ~ConnectHook();
  ConnectHook(const ConnectHook&) = delete;
  ConnectHook& operator=(const ConnectHook&) = delete;

  // A program comes under it by writing its pid into "cgroup.procs" there.
  const std::string& group() const { return group_; }

 private:
  std::string group_;
  std::vector<Descriptor> programs_;
};

}  // namespace portpool::test
