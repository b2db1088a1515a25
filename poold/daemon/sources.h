// The source addresses that pools name, as they come to this host and leave it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernel/answer.h"
#include "lanes/rules.h"

namespace portpool {

// Sets the sources of each rule to those of its entries that this host has now, and logs which have
// come and gone. Of entries with more than kLanesPerEntry addresses: those that interfaces have,
// and those that were sources before. Returns the rules (by index) whose sources are others than
// before; unknown, and nothing changed, where the kernel cannot be asked.
kernel::Answer<std::vector<std::uint32_t>> follow_sources(std::vector<PoolRule>& rules);

}  // namespace portpool
