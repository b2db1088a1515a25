// The addresses of this host's interfaces (RTM_GETADDR, rtnetlink(7)), in the calling thread's
// network namespace.
#pragma once

#include <utility>
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

  // IPv6 addresses that an interface has and no socket may use: the kernel still looks for
  // duplicates of it (a second, as a rule), or has found one.
  enum class Pending { tentative, duplicate };
  void add_pending(const Address& address, Pending why) { pending_.emplace_back(address, why); }
  const std::vector<std::pair<Address, Pending>>& pending() const { return pending_; }

 private:
  std::vector<Address> addresses_;
  std::vector<std::pair<Address, Pending>> pending_;
  std::vector<AddressPrefix> loopback_;
};

// One dump, some microseconds for each address. Left out: addresses on interfaces that are down.
// Value or unknown.
Answer<LocalAddresses> local_addresses();

}  // namespace portpool::kernel
