// Ports that programs take by bind(address, 0) before they connect.
#pragma once

#include <vector>

#include "doctor/census.h"
#include "doctor/ownership.h"

namespace portpool::doctor {

// A port bound like that is lost to every other socket of the address, wherever that connects to.
// It shows by the parity: bind() prefers the one that connect() takes last, which connect() alone
// does not touch as long as the other has ports for the destination.
struct EarlyBinds {
  Address source;
  std::uint32_t destinations = 0;
  std::uint32_t ports = 0;    // distinct, of the usable ones, over all destinations, both parities
  std::uint32_t telling = 0;  // distinct, on the parity that connect() would not have taken
  std::uint32_t usable = 0;
  std::vector<Share> shares;  // who holds the telling ones, most first

  // bind(address, 0) fails with EADDRINUSE, or is about to.
  bool exhausted() const { return ports * 50ULL >= usable * 49ULL; }
};

// The sources at which that is seen, most ports first. Connections of programs under the library
// tell nothing: the pool chose their ports.
std::vector<EarlyBinds> find_early_binds(const Census& census, const Ownership& owners);

}  // namespace portpool::doctor
