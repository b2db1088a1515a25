#include "daemon/roll_call.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "base/clock.h"
#include "kernel/preload.h"
#include "kernel/process_identity.h"

namespace portpool {
namespace {

constexpr int kShareOfLooks = 50;
constexpr std::chrono::milliseconds kPredecessorPause{100};

// The last error was want of something that others have.
bool is_shortage() { return errno == EMFILE || errno == ENFILE || errno == ENOMEM; }

bool is_named(const ExpectedClient& entry, const Expected& expected) {
  return entry.kind.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(expected.kind) &&
         std::string_view(entry.name) == expected.name;
}

}  // namespace

RollCall::RollCall(EventLoop& loop, const Segment& segment,
                   std::function<std::optional<std::vector<pid_t>>()> attached)
    : loop_(loop),
      segment_(segment),
      attached_(std::move(attached)),
      timer_(loop.add_timer([this] { begin(); })) {}

RollCall::~RollCall() {
  if (beside_) loop_.unwatch(beside_->fd());
}

void RollCall::expect(std::vector<Expected> expected) {
  if (!expected.empty() && !beside_) {
    beside_.emplace();
    loop_.watch(beside_->fd(), [this] { ended(); });
  }
  expected_ = std::move(expected);
  Attendance& attendance = segment_.writer().attendance();
  const std::size_t known = std::min<std::size_t>(attendance.expected_count, kMostExpected);
  std::vector<std::uint32_t> states(expected_.size());
  for (std::size_t i = 0; i < expected_.size(); ++i) {
    for (std::size_t k = 0; k < known; ++k) {
      if (is_named(attendance.expected[k], expected_[i])) states[i] = attendance.expected[k].state;
    }
  }
  attendance.expected_count.store(0, std::memory_order_relaxed);
  for (std::size_t i = 0; i < expected_.size(); ++i) {
    ExpectedClient& entry = attendance.expected[i];
    store_text(entry.name, expected_[i].name);
    entry.kind.store(static_cast<std::uint32_t>(expected_[i].kind), std::memory_order_relaxed);
    entry.state.store(states[i], std::memory_order_relaxed);
  }
  attendance.expected_count.store(static_cast<std::uint32_t>(expected_.size()),
                                  std::memory_order_release);
  loop_.set_timer(timer_, std::chrono::nanoseconds(0));
}

void RollCall::attached(pid_t pid) {
  if (!expected_.empty()) names_[pid] = kernel::name_of_process(pid).value_or("");
}

void RollCall::begin() {
  if (expected_.empty() || beside_->busy()) return;
  const auto attached = attached_();
  if (!attached) return loop_.set_timer(timer_, kPredecessorPause);
  std::map<pid_t, std::string> alive;
  processes_.clear();
  for (const pid_t pid : *attached) {
    const auto known = names_.find(pid);
    const std::string name = known != names_.end() ? known->second : "";
    alive.emplace(pid, name);
    processes_.push_back({pid, name});
  }
  names_ = std::move(alive);
  wanted_ = expected_;
  beside_->start([this] { look(); });
}

void RollCall::ended() {
  if (!beside_->finish()) return;
  // With others expected meanwhile what was found is of no use.
  const bool outdated = wanted_ != expected_;
  if (!outdated && !failed_) {
    Attendance& attendance = segment_.writer().attendance();
    for (std::size_t i = 0; i < found_.size(); ++i) {
      attendance.expected[i].state.store(static_cast<std::uint32_t>(found_[i]),
                                         std::memory_order_relaxed);
    }
  }
  const std::chrono::nanoseconds pause =
      std::max<std::chrono::nanoseconds>(kPause, cost_ * kShareOfLooks);
  loop_.set_timer(timer_, outdated ? std::chrono::nanoseconds(0) : pause);
}

bool RollCall::is_complete() const {
  return std::all_of(found_.begin(), found_.end(),
                     [](ExpectedState state) { return state == ExpectedState::served; });
}

void RollCall::look() {
  const std::uint64_t before = thread_cpu_ns();
  found_.assign(wanted_.size(), ExpectedState::absent);
  failed_ = false;
  wants_units_ = std::any_of(wanted_.begin(), wanted_.end(),
                             [](const Expected& one) { return one.kind == ExpectedKind::unit; });
  std::vector<AttachedEntry> entries = read_attached_entries(segment_.view());
  std::set<pid_t> seen;
  for (const Process& process : processes_) {
    if (beside_->ended_early() || failed_) return;
    if (is_complete()) break;
    seen.insert(process.pid);
    look_at(&process, process.pid, entries);
  }
  if (!is_complete()) {
    const std::vector<pid_t> all = kernel::all_processes();
    failed_ = failed_ || all.empty();  // this one is among them
    for (const pid_t pid : all) {
      if (beside_->ended_early() || failed_) return;
      if (is_complete()) break;
      if (!seen.contains(pid)) look_at(nullptr, pid, entries);
    }
  }
  cost_ = std::chrono::nanoseconds(thread_cpu_ns() - before);
}

void RollCall::look_at(const Process* attached, pid_t pid, std::vector<AttachedEntry>& entries) {
  // Two small files of each; more is read of those alone that are expected.
  const auto name = kernel::name_of_process(pid);
  auto unit = std::optional<std::string>("");
  if (name && wants_units_) unit = kernel::unit_of_process(pid);
  if (!name || !unit) {
    failed_ = failed_ || is_shortage();
    return;  // it has ended
  }
  const AttachedEntry* entry = nullptr;
  bool joined = false;
  for (std::size_t i = 0; i < wanted_.size(); ++i) {
    if (found_[i] == ExpectedState::served) continue;
    const bool by_unit = wanted_[i].kind == ExpectedKind::unit;
    const std::string& expected = wanted_[i].name;
    const bool called_so = *name == expected || (attached != nullptr && attached->name == expected);
    if (by_unit ? *unit != expected : !called_so) continue;
    if (!std::exchange(joined, true)) {
      const auto who = kernel::identify(pid);
      if (!who) return;  // it has ended
      // The same number in another namespace is somebody else's.
      if (attached != nullptr || who->pid_namespace != 0) entry = take_entry_of(entries, *who);
    }
    found_[i] = std::max(found_[i], state_of(attached, pid, entry, *name));
  }
}

ExpectedState RollCall::state_of(const Process* attached, pid_t pid, const AttachedEntry* entry,
                                 const std::string& name) const {
  if (attached == nullptr && entry == nullptr) return ExpectedState::unattached;
  // It attached under another name and has not connected since: a wrapper, perhaps, that became a
  // program which is not under the library. Where poold may look it sees that it is.
  if (entry == nullptr && !attached->name.empty() && attached->name != name) {
    const auto preload = kernel::preload_state(pid, kernel::kLibrary);
    if (!preload || !preload->loaded) return ExpectedState::unattached;
  }
  const std::uint32_t control = segment_.view().header().control.load(std::memory_order_relaxed);
  const bool observes = entry != nullptr && entry->record.who.mode == 1;
  if (observes || Control::unpack(control).mode == Mode::observe) return ExpectedState::observe;
  // From when on it is under a filter of its own all its connects are the kernel's.
  constexpr auto kSeccomp = static_cast<std::size_t>(FallbackReason::k_seccomp);
  if (entry != nullptr && entry->record.fallbacks[kSeccomp] != 0) return ExpectedState::seccomp;
  return ExpectedState::served;
}

}  // namespace portpool
