// Tells at once that addresses of this host have come or gone (RTMGRP_IPV4_IFADDR and
// RTMGRP_IPV6_IFADDR, rtnetlink(7)), in the network namespace of the thread that makes the object.
// An IPv6 address comes when duplicate address detection has let it through.
#pragma once

#include "base/descriptor.h"

namespace portpool::kernel {

class AddressEvents {
 public:
  // Where the kernel gives no such socket, nothing is told: who follows addresses has to look at
  // them from time to time in any case, since a socket that is too full loses events.
  AddressEvents();

  // Can be read when there is something that drain() has not taken; -1: never.
  int fd() const { return socket_.get(); }
  void drain();

 private:
  Descriptor socket_;
};

}  // namespace portpool::kernel
