// Sockets with a route of their own, and a guest that connects by them.
#pragma once

#include <cstddef>
#include <string>

#include "support/guest.h"
#include "support/sockets.h"

namespace portpool::test {

// "mark=7", "device=u2", "index=u2", "unicast=u2", "tos=16"; "none=0": nothing. unseen: by a system
// call, so that no interposed function sees it.
void apply_option(const std::string& option, int fd, bool unseen);

// The same option given to this process: "uid=1000".
void apply_to_process(const std::string& option);

// The address without its port.
std::string host_of(const SocketAddress& address);

// A socket with the option that is connected to `destination`, or refused. WAY: 'plainly',
// 'nonblocking', 'unseen', 'duplicate' (the option is set on a duplicate of the socket).
struct Routed {
  int fd;
  int error;
};
Routed connect_routed(const SocketAddress& destination, const std::string& option,
                      const std::string& way);

// Drives the guest `routed` DESTINATION OPTION WAY [CGROUP]: at each word it connects so many
// times, with a reset after each connection that is good, and says how they ended. In WAY 'dropped'
// the sockets are made first and the user is changed before they connect.
class RoutedClient {
 public:
  RoutedClient(const Under& under, const Arguments& arguments)
      : process_(start_guest("routed", under, arguments)) {}

  // Does not wait for the answer; for clients of which nothing more is asked.
  void begin(int count) { process_.send_line(std::to_string(count)); }
  // "20 ok 10.2.0.1\n", a line for each kind of end; by name.
  std::string connect(int count);

 private:
  Process process_;
  std::size_t read_ = 0;
};

}  // namespace portpool::test
