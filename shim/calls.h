// The policy of each interposed function. Each behaves, to the program, like the function of its
// name without portpool: same results, same errno, errno untouched on success.
#pragma once

#include <sys/socket.h>

#include <cstdio>

namespace portpool::shim {

int connect_call(int fd, const sockaddr* address, socklen_t length);
int bind_call(int fd, const sockaddr* address, socklen_t length);
int getsockname_call(int fd, sockaddr* address, socklen_t* length);
int listen_call(int fd, int backlog);
int close_call(int fd);
int fclose_call(FILE* stream);
int close_range_call(unsigned first, unsigned last, int flags);
void closefrom_call(int first);
int dup_call(int fd);
int dup2_call(int from, int to);
int dup3_call(int from, int to, int flags);
int socket_call(int domain, int type, int protocol);
int setsockopt_call(int fd, int level, int name, const void* value, socklen_t length);
int getsockopt_call(int fd, int level, int name, void* value, socklen_t* length);
// `real_function` is fcntl or fcntl64.
int fcntl_call(int (*real_function)(int, int, ...), int fd, int command, void* argument);
int ioctl_call(int fd, unsigned long request, void* argument);
int mlockall_call(int flags);
int prctl_call(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
long syscall_call(long number, long a, long b, long c, long d, long e, long f);
int setns_call(int fd, int type);
int unshare_call(int flags);

}  // namespace portpool::shim
