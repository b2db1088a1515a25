// The addresses of this host's interfaces (RTM_GETADDR, rtnetlink(7)), in the calling thread's
// network namespace.
#pragma once

#include <vector>

#include "base/address_text.h"
#include "kernel/answer.h"

namespace portpool::kernel {

class LocalAddresses {
 public:
  void add(const Address& address) { addresses_.push_back(address); }
  // An IPv4 address on a loopback interface makes its whole prefix this host's.
  void add_loopback(const AddressPrefix& prefix) { loopback_.push_back(prefix); }

  // False is not the last word: a route of type local makes addresses this host's too, without an
  // interface that has them (is_local_address()).
  bool contains(const Address& address) const;
  // Those that interfaces have, in the kernel's order.
  const std::vector<Address>& all() const { return addresses_; }

 private:
  std::vector<Address> addresses_;
  std::vector<AddressPrefix> loopback_;
};

// One dump, some microseconds for each address. Left out: addresses on interfaces that are down,
// and IPv6 ones that are tentative or were found twice (a socket cannot have them as its source).
// Value or unknown.
Answer<LocalAddresses> local_addresses();

}  // namespace portpool::kernel
