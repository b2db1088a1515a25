// Where a connection really goes: its two ends against its lane's.
#pragma once

#include "portpool/segment.h"

namespace portpool::shim {

enum class Ends {
  of_lane,            // or they cannot be read
  other_source,       // the kernel chose another source address than the lane has
  other_destination,  // the destination was rewritten inside connect() (cgroup/connect4, connect6)
};

// Of a socket whose connect() is under way or has succeeded. Two system calls: getsockname(), and
// SO_PEERNAME, which unlike getpeername() answers while the handshake goes on (inet_getname).
//
// thorough: such a rewriter may translate the answer back (cgroup/getpeername4), so sock_diag is
// asked as well whether there is a connection between these ends: some 10 us more. A socket that is
// bound to a device is taken at its word, since such a question does not find it.
//
// What netfilter translates (DNAT, REDIRECT) it does to packets: the socket keeps the destination
// that was asked for, and so does its 4-tuple. Leaves errno as it was.
Ends ends_of(int fd, const LaneKey& lane, bool thorough);

// Tells poold that the lane's destination is rewritten.
void report_rewritten(const SegmentView& view, LaneRef lane);

}  // namespace portpool::shim
