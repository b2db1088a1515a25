// The port that a program is told which asks for it between bind(address, 0) and connect().
//
// To take one from the kernel then would take it from all destinations. So the program is told one
// that stands free toward as many destinations as poold knows of (the lane of promises of that
// source), and the socket gets it when it connects, if it is still free toward that destination; if
// not, another one, which getsockname() tells then. Who listens, or binds once more, gets the very
// port, or the kernel's error.
#pragma once

#include <cstdint>

#include "portpool/structure.h"
#include "shim/sockets.h"

namespace portpool::shim {

struct Promise {
  std::uint16_t port = 0;  // 0: none
  LaneRef lane;            // of promises; generation 0: not known
};

// For a socket whose bind was deferred and that has no promise: `state` has one then, which is on
// the socket and in the table, too. False: none can be had.
bool promise_port(int fd, SocketState& state);

// Takes it out of `state` when the socket is about to connect; redeem() must follow.
Promise take_promise(SocketState& state);
// The call is over, with `error`. Of a socket that has got no port the promise stands.
void redeem(int fd, SocketState& state, const Promise& promise, int error);

// Makes a deferred bind real: binds once more, to the promised port if there is one. Returns 0,
// with `state` to be stored, or the error of that bind(), with the socket as it was; EINVAL also
// when it has a port.
int make_real(int fd, SocketState& state, const Promise& promise);

// A program binds to that port itself. What the kernel shall say if this process was promised it,
// it can only say of a socket that has it.
void make_promise_real(std::uint16_t port);

}  // namespace portpool::shim
