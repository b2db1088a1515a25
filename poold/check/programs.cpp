#include "check/programs.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

#include "check/served.h"
#include "kernel/process_identity.h"
#include "kernel/time_offsets.h"
#include "observe/segment_reader.h"
#include "portpool/attached.h"

namespace portpool::check {
namespace {

struct Entry {
  AttachedRecord record;
  std::string comm;
  bool taken = false;  // a process was found for it
};

std::string comm_of(const AttachedIdentity& who) {
  char text[sizeof who.comm];
  std::memcpy(text, who.comm, sizeof text);
  return {text, strnlen(text, sizeof text)};
}

std::vector<Entry> read_entries(const SegmentView& view) {
  std::vector<Entry> entries;
  for (std::uint32_t i = 0; i < view.attached_count(); ++i) {
    Entry entry;
    if (!read_attached(view.attached(i), entry.record)) continue;
    entry.comm = comm_of(entry.record.who);
    entries.push_back(std::move(entry));
  }
  // A process that became another program (execve) left one behind: the latest is its own.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.record.who.since_ns > b.record.who.since_ns;
  });
  return entries;
}

// What is to be subtracted from the process's CLOCK_BOOTTIME to have ours.
std::int64_t boot_time_ahead(pid_t pid) {
  const auto theirs = kernel::time_offsets(pid);
  const auto ours = kernel::own_time_offsets();
  return theirs && ours ? theirs->boottime - ours->boottime : 0;
}

// The process's own, by its number in its pid namespace, and by when it was started: who had that
// number before it took his entry earlier. Where a namespace is not known, one of the same name.
const AttachedRecord* find_entry(std::vector<Entry>& entries, const kernel::ProcessIdentity& who) {
  constexpr std::int64_t kTick = 20'000'000;
  constexpr std::uint64_t kLatest = std::uint64_t{1} << 62;
  const std::int64_t ahead = boot_time_ahead(who.pid);
  Entry* found = nullptr;
  for (Entry& entry : entries) {
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
  if (found == nullptr) return nullptr;
  found->taken = true;
  return &found->record;
}

ProgramCounts counts_of(const AttachedRecord& record) {
  ProgramCounts counts{record.connects[static_cast<std::size_t>(Route::pool)],
                       record.connects[static_cast<std::size_t>(Route::kernel)],
                       {},
                       0};
  for (std::size_t i = 0; i < kFallbackReasons; ++i) {
    if (record.fallbacks[i] <= counts.fallback_count) continue;
    counts.fallback_count = record.fallbacks[i];
    counts.fallback = kFallbackTexts[i].name;
  }
  return counts;
}

std::string user_name(uid_t user) {
  passwd entry{};
  passwd* found = nullptr;
  char room[4096];
  if (getpwuid_r(user, &entry, room, sizeof room, &found) == 0 && found != nullptr) {
    return entry.pw_name;
  }
  return std::to_string(user);
}

std::string mode_of(const kernel::PreloadState& preload, const AttachedRecord* record) {
  if (record != nullptr) return record->who.mode == 1 ? "observe" : "pool";
  if (preload.mode.empty() || preload.mode == "pool") return "pool";
  return preload.mode == "observe" ? "observe" : "off";
}

Program row_of(const kernel::ProcessIdentity& who) {
  Program program;
  program.pid = who.pid;
  program.inner_pid = who.inner_pid;
  program.name = who.name;
  program.user = user_name(who.user);
  program.unit = who.unit;
  return program;
}

void judge(const ProcessFacts& process, const DaemonFacts& daemon, const AttachedRecord* record,
           Program& program) {
  constexpr auto kSeccomp = static_cast<std::size_t>(FallbackReason::k_seccomp);
  Judgement judgement;
  judge_served(process, daemon, judgement);
  const Finding* why = judgement.reason();
  // The filter that it is under lets the pool work.
  const bool harmless = record != nullptr && record->fallbacks[kSeccomp] == 0 &&
                        record->connects[static_cast<std::size_t>(Route::pool)] != 0;
  if (why == nullptr || (why->name == "seccomp" && harmless)) {
    program.served = Answer::yes;
    return;
  }
  program.served = judgement.answer();
  program.reason = why->reason.empty() ? why->name : why->reason;
  program.text = why->text;
}

std::uint64_t connects_of(const Program& program) {
  return program.counts ? program.counts->pool + program.counts->kernel : 0;
}

class Listing {
 public:
  explicit Listing(const std::string& socket) : daemons_(socket) {
    try {
      reader_ = std::make_unique<SegmentReader>(socket);
      entries_ = read_entries(reader_->view());
    } catch (const SegmentError&) {
      // Programs are judged without one, too.
    }
  }

  Programs take() {
    for (const pid_t pid : kernel::all_processes()) {
      namespaces_.insert(kernel::namespace_of(pid, "pid"));
      if (pid != ::getpid()) add(pid);
    }
    add_unseen();
    count_missing();
    std::stable_sort(found_.list.begin(), found_.list.end(),
                     [](const Program& a, const Program& b) {
                       if (a.served != b.served) return weight(a.served) > weight(b.served);
                       return connects_of(a) > connects_of(b);
                     });
    return std::move(found_);
  }

 private:
  void add(pid_t pid) {
    errno = 0;
    const auto process = read_process(pid);
    const bool refused = errno == EACCES || errno == EPERM;
    if (process) {
      if (process->preload.loaded || process->preload.requested) add(*process);
    } else if (refused) {
      ++found_.unreadable;
      const auto who = kernel::identify(pid);
      const AttachedRecord* record = who ? find_entry(entries_, *who) : nullptr;
      if (record == nullptr) return;
      Program program = row_of(*who);
      program.mode = mode_of({}, record);
      program.counts = counts_of(*record);
      program.reason = "not_permitted";
      program.text = "This user may not look into it";
      found_.list.push_back(std::move(program));
    }
  }

  void add(const ProcessFacts& process) {
    const bool is_ours = reader_ != nullptr && process.preload.structure != 0 &&
                         process.preload.structure == reader_->structure_inode();
    const AttachedRecord* record = is_ours ? find_entry(entries_, process.who) : nullptr;
    Program program = row_of(process.who);
    program.mode = mode_of(process.preload, record);
    if (record != nullptr) program.counts = counts_of(*record);
    judge(process, daemons_.of(process), record, program);
    found_.list.push_back(std::move(program));
  }

  // Entries of processes that have no number here: all of their pid namespace have none. Other
  // entries without a process are of such as have ended.
  void add_unseen() {
    if (reader_ == nullptr) return;
    constexpr std::uint32_t kLately = 600;  // a minute
    const auto beat = static_cast<std::uint32_t>(
        reader_->view().header().heartbeat.load(std::memory_order_relaxed));
    for (const Entry& entry : entries_) {
      const auto space = static_cast<ino_t>(entry.record.who.pid_namespace);
      if (entry.taken || space == 0 || namespaces_.contains(space) ||
          beat - entry.record.beat > kLately) {
        continue;
      }
      Program program;
      program.inner_pid = static_cast<pid_t>(entry.record.who.pid());
      program.name = entry.comm;
      program.mode = mode_of({}, &entry.record);
      program.counts = counts_of(entry.record);
      program.reason = "other_pid_namespace";
      program.text = "It is in a pid namespace that cannot be seen from here, or has just ended";
      found_.list.push_back(std::move(program));
    }
  }

  void count_missing() {
    if (reader_ == nullptr) return;
    const std::uint32_t known = reader_->view().header().clients.load(std::memory_order_relaxed);
    // Of those in the list some may have attached before they became another program (execve).
    found_.without_row = known > found_.list.size() ? known - found_.list.size() : 0;
  }

  Daemons daemons_;
  std::unique_ptr<SegmentReader> reader_;
  std::vector<Entry> entries_;
  std::set<ino_t> namespaces_;  // of pids, that can be seen from here
  Programs found_;
};

}  // namespace

Answer Programs::answer() const {
  // Somebody else's processes; what root may not look into are no ordinary programs.
  Answer worst = unreadable == 0 || geteuid() == 0 ? Answer::yes : Answer::unknown;
  for (const Program& program : list) {
    if (weight(program.served) > weight(worst)) worst = program.served;
  }
  return worst;
}

Programs list_programs(const std::string& socket) { return Listing(socket).take(); }

}  // namespace portpool::check
