#include "kernel/address_events.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>

namespace portpool::kernel {

AddressEvents::AddressEvents()
    : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)) {
  sockaddr_nl groups{};
  groups.nl_family = AF_NETLINK;
  groups.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&groups), sizeof groups) != 0) {
    socket_ = Descriptor();
  }
}

void AddressEvents::drain() {
  char event[64];
  // ENOBUFS: some were lost; there are others behind them perhaps.
  while (::recv(socket_.get(), event, sizeof event, 0) >= 0 || errno == ENOBUFS || errno == EINTR) {
  }
}

}  // namespace portpool::kernel
