// Whether a 4-tuple is in use, asked of the kernel before a socket is bound for good.
#pragma once

#include "portpool/endpoint.h"
#include "shim/own_descriptor.h"

namespace portpool::shim {

enum class TupleUse {
  unknown,   // the kernel did not say
  none,      // no socket has it
  used,      // a socket has it; a TIME_WAIT of less than a second counts as one
  reusable,  // a TIME_WAIT that is old enough to be taken over where tcp_tw_reuse allows it
};

// Look-ups by sock_diag(7), with a netlink socket that is open for as long as the object lives:
// three system calls to open and close it, and two for each question, some 9 us for one in all. The
// kernel answers within the call, or the answer is `unknown`: nothing is waited for. (The module
// that answers is loaded: poold uses it.) All by system calls, which are no cancellation points: no
// thread is cancelled with the socket open, provided that it is closed before the real connect().
// Leaves errno as it was.
class TupleQuestions {
 public:
  TupleQuestions();
  TupleQuestions(const TupleQuestions&) = delete;
  TupleQuestions& operator=(const TupleQuestions&) = delete;

  // Sees no socket that is bound to a device (SO_BINDTODEVICE).
  TupleUse ask(const Endpoint& local, const Endpoint& remote) const;

 private:
  OwnDescriptor socket_;
};

}  // namespace portpool::shim
