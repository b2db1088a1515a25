#include "observe/attached_entries.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernel/time_offsets.h"

namespace portpool {
namespace {

std::string comm_of(const AttachedIdentity& who) {
  char text[sizeof who.comm];
  std::memcpy(text, who.comm, sizeof text);
  return {text, strnlen(text, sizeof text)};
}

// What is to be subtracted from the process's CLOCK_BOOTTIME to have ours.
std::int64_t boot_time_ahead(pid_t pid) {
  const auto theirs = kernel::time_offsets(pid);
  const auto ours = kernel::own_time_offsets();
  return theirs && ours ? theirs->boottime - ours->boottime : 0;
}

}  // namespace

std::vector<AttachedEntry> read_attached_entries(const SegmentView& view) {
  std::vector<AttachedEntry> entries;
  for (std::uint32_t i = 0; i < view.attached_count(); ++i) {
    AttachedEntry entry;
    if (!read_attached(view.attached(i), entry.record)) continue;
    entry.comm = comm_of(entry.record.who);
    entries.push_back(std::move(entry));
  }
  // A process that became another program (execve) left one behind: the latest is its own.
  std::stable_sort(entries.begin(), entries.end(),
                   [](const AttachedEntry& a, const AttachedEntry& b) {
                     return a.record.who.since_ns > b.record.who.since_ns;
                   });
  return entries;
}

const AttachedEntry* take_entry_of(std::vector<AttachedEntry>& entries,
                                   const kernel::ProcessIdentity& who) {
  constexpr std::int64_t kTick = 20'000'000;
  constexpr std::uint64_t kLatest = std::uint64_t{1} << 62;
  const std::int64_t ahead = boot_time_ahead(who.pid);
  AttachedEntry* found = nullptr;
  for (AttachedEntry& entry : entries) {
    const AttachedIdentity& says = entry.record.who;
    const bool elsewhere = says.pid_namespace != 0 && who.pid_namespace != 0 &&
                           says.pid_namespace != who.pid_namespace;
    const auto since = static_cast<std::int64_t>(std::min(says.since_ns, kLatest)) - ahead;
    if (entry.taken || elsewhere || says.pid() != static_cast<std::uint32_t>(who.inner_pid) ||
        since + kTick < static_cast<std::int64_t>(who.started_ns)) {
      continue;
    }
    if (found == nullptr || (entry.comm == who.name && found->comm != who.name)) found = &entry;
  }
  if (found != nullptr) found->taken = true;
  return found;
}

}  // namespace portpool
