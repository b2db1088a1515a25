#include "check/programs.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>

#include "check/served.h"
#include "kernel/process_identity.h"
#include "observe/attached_entries.h"
#include "observe/segment_reader.h"

namespace portpool::check {
namespace {

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
      entries_ = read_attached_entries(reader_->view());
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
  const AttachedRecord* record_of(const kernel::ProcessIdentity& who) {
    const AttachedEntry* entry = take_entry_of(entries_, who);
    return entry != nullptr ? &entry->record : nullptr;
  }

  void add(pid_t pid) {
    errno = 0;
    const auto process = read_process(pid);
    const bool refused = errno == EACCES || errno == EPERM;
    if (process) {
      if (process->preload.loaded || process->preload.requested) add(*process);
    } else if (refused) {
      ++found_.unreadable;
      const auto who = kernel::identify(pid);
      const AttachedRecord* record = who ? record_of(*who) : nullptr;
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
    const AttachedRecord* record = is_ours ? record_of(process.who) : nullptr;
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
    for (const AttachedEntry& entry : entries_) {
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
  std::vector<AttachedEntry> entries_;
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
