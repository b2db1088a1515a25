// The table of attached processes (portpool/attached.h), read, and joined with what /proc shows.
#pragma once

#include <string>
#include <vector>

#include "kernel/process_identity.h"
#include "portpool/attached.h"

namespace portpool {

struct AttachedEntry {
  AttachedRecord record;
  std::string comm;
  bool taken = false;  // a process was found for it
};

// Those of processes that have ended as well, until others take their places. The latest first.
std::vector<AttachedEntry> read_attached_entries(const SegmentView& view);

// The process's own, by its number in its pid namespace, and by when it was started: who had that
// number before it took his entry earlier. Where a namespace is not known, one of the same name.
// Takes it, so that nobody else finds it.
const AttachedEntry* take_entry_of(std::vector<AttachedEntry>& entries,
                                   const kernel::ProcessIdentity& who);

}  // namespace portpool
