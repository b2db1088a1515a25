// The program installs a seccomp filter, which may end it at any system call that it does not make
// itself. From just before that call on, and for good, the library makes none of its own: connect()
// is the kernel's, close() is only close(). Reason: seccomp.
//
// Seen are prctl(), and seccomp(2) and prctl(2) by libc's syscall(), as libseccomp calls them; not
// a raw system call. Whatever the filter allows: that cannot be told from outside. With one that
// was there before the library started it has to live (docs/connect.md).
#pragma once

#include <sys/socket.h>

#include "shim/sockets.h"

namespace portpool::shim {

// connect() of a library that is switched off, or has seen a filter; then with a count. No clock,
// no number of the CPU: some machines have these by a system call only.
int connect_passed_on(int fd, const sockaddr* address, socklen_t length, SocketState state);

}  // namespace portpool::shim
