// The interposed functions: one-line forwards, nothing else.
#include <cstdarg>
#include <cstdio>

#include "shim/calls.h"
#include "shim/real.h"

#define PORTPOOL_EXPORT extern "C" __attribute__((visibility("default")))

using namespace portpool::shim;

PORTPOOL_EXPORT int connect(int fd, const sockaddr* address, socklen_t length) {
  return connect_call(fd, address, length);
}

PORTPOOL_EXPORT int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  return bind_call(fd, address, length);
}

PORTPOOL_EXPORT int getsockname(int fd, sockaddr* address, socklen_t* length) noexcept {
  return getsockname_call(fd, address, length);
}

PORTPOOL_EXPORT int listen(int fd, int backlog) noexcept { return listen_call(fd, backlog); }

PORTPOOL_EXPORT int socket(int domain, int type, int protocol) noexcept {
  return socket_call(domain, type, protocol);
}

PORTPOOL_EXPORT int setsockopt(int fd, int level, int name, const void* value,
                               socklen_t length) noexcept {
  return setsockopt_call(fd, level, name, value, length);
}

PORTPOOL_EXPORT int getsockopt(int fd, int level, int name, void* value,
                               socklen_t* length) noexcept {
  return getsockopt_call(fd, level, name, value, length);
}

PORTPOOL_EXPORT int fclose(FILE* stream) { return fclose_call(stream); }

PORTPOOL_EXPORT int dup(int fd) noexcept { return dup_call(fd); }

PORTPOOL_EXPORT int close(int fd) { return close_call(fd); }

PORTPOOL_EXPORT int close_range(unsigned first, unsigned last, int flags) noexcept {
  return close_range_call(first, last, flags);
}

PORTPOOL_EXPORT void closefrom(int first) noexcept { closefrom_call(first); }

PORTPOOL_EXPORT int dup2(int from, int to) noexcept { return dup2_call(from, to); }

PORTPOOL_EXPORT int dup3(int from, int to, int flags) noexcept {
  return dup3_call(from, to, flags);
}

PORTPOOL_EXPORT int mlockall(int flags) noexcept { return mlockall_call(flags); }

PORTPOOL_EXPORT int setns(int fd, int type) noexcept { return setns_call(fd, type); }

PORTPOOL_EXPORT int unshare(int flags) noexcept { return unshare_call(flags); }

// Words, each of their arguments, whatever number the caller gives (syscall(2), prctl(2)). Under
// names of their own here, since the headers know them with variable arguments.
PORTPOOL_EXPORT long syscall_export(long number, long a, long b, long c, long d, long e,
                                    long f) noexcept asm("syscall");
long syscall_export(long number, long a, long b, long c, long d, long e, long f) noexcept {
  return syscall_call(number, a, b, c, d, e, f);
}

PORTPOOL_EXPORT int prctl_export(int option, unsigned long a, unsigned long b, unsigned long c,
                                 unsigned long d) noexcept asm("prctl");
int prctl_export(int option, unsigned long a, unsigned long b, unsigned long c,
                 unsigned long d) noexcept {
  return prctl_call(option, a, b, c, d);
}

// The variable argument of these three is one word on every ABI we build for.
#define PORTPOOL_WORD_AFTER(last)        \
  va_list arguments;                     \
  va_start(arguments, last);             \
  void* word = va_arg(arguments, void*); \
  va_end(arguments)

PORTPOOL_EXPORT int fcntl(int fd, int command, ...) {
  PORTPOOL_WORD_AFTER(command);
  return fcntl_call(real().fcntl, fd, command, word);
}

PORTPOOL_EXPORT int fcntl64(int fd, int command, ...) {
  PORTPOOL_WORD_AFTER(command);
  return fcntl_call(real().fcntl64, fd, command, word);
}

PORTPOOL_EXPORT int ioctl(int fd, unsigned long request, ...) noexcept {
  PORTPOOL_WORD_AFTER(request);
  return ioctl_call(fd, request, word);
}
