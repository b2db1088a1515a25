// Socket options newer than the headers of the distributions we build on.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24  // Linux 4.2, ip(7)
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51  // Linux 6.3, ip(7): u32, high << 16 | low
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71  // Linux 5.14, socket(7): u64
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62  // Linux 5.0: int, index of the device
#endif
#ifndef IPV6_ADDR_PREFERENCES
#define IPV6_ADDR_PREFERENCES 72  // Linux 2.6.26, RFC 5014
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262  // Linux 5.6
#endif
