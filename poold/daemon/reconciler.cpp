#include "daemon/reconciler.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/number_text.h"
#include "daemon/log.h"

namespace portpool {
namespace {

using std::chrono::nanoseconds;

// Lists of bound sockets cost milliseconds even when empty: their share is one in this many.
constexpr int kBlockedShare = 400;
constexpr nanoseconds kShortestBlockedPause = std::chrono::milliseconds(500);
// Addresses may come and go by the thousand.
constexpr int kAddressShare = 20;
constexpr nanoseconds kShortestAddressPause = std::chrono::milliseconds(10);
// Of millions of sockets, on a busy machine, a walk takes seconds.
constexpr std::chrono::seconds kWalkPatience{10};

}  // namespace

Reconciler::Reconciler(EventLoop& loop, const StructureWriter& structure,
                       std::vector<PoolRule> rules, Strategy strategy)
    : loop_(loop),
      work_{structure, {structure, std::move(rules), strategy}, LaneTable(structure), {}, {}, {},
            {}},
      walker_(structure.view()),
      room_(work_),
      answers_(work_, room_),
      pass_(work_, room_),
      attention_(
          work_, [this] { pass_.hurry(); },
          [this](const LaneRecord& lane) { answers_.rewritten(lane); }),
      review_(work_, answers_, [this] { pass_.want_now(); }),
      work_timer_(loop.add_timer([this] { work(); })),
      pass_timer_(loop.add_timer([this] { start_walk(); })),
      answers_timer_(loop.add_timer([this] { work(); })),
      attention_turns_(loop,
                       [this] {
                         const Turn turn = attention_.serve();
                         set_timers();
                         return turn;
                       }),
      address_turns_(loop, [this] {
        nanoseconds cost{0};
        {
          const CpuMeter meter(cost);
          read_settings();
        }
        work();
        return Turn{std::max(cost * kAddressShare, kShortestAddressPause)};
      }) {
  loop_.watch(walker_.fd(), [this] { walk_ended(); });
  if (address_events_.fd() >= 0) {
    loop_.watch(address_events_.fd(), [this] {
      address_events_.drain();
      address_turns_.ask();
    });
  }
  read_settings();
  const int settings = loop_.add_timer([this] {
    read_settings();
    // A client that died between its request and the bell must not silence the others.
    answers_.rung();
    work();
  });
  loop_.repeat_timer(settings, kSettingsPause);
  loop_.set_timer(work_timer_, nanoseconds(0));
}

Reconciler::~Reconciler() {
  loop_.unwatch(walker_.fd());
  if (address_events_.fd() >= 0) loop_.unwatch(address_events_.fd());
}

void Reconciler::set_rules(std::vector<PoolRule> rules) {
  work_.settings.set_rules(std::move(rules));
  review_.rules_changed();
  pass_.want_now();
  work();
}

void Reconciler::adopt() {
  for (const auto& [answer, flags] : work_.lanes.adopt()) {
    const LaneKey& question = answer.question;
    const PoolRule& rule = work_.settings.rule(work_.settings.pool_of(question));
    // Where only a look at the routes would tell, look_at_routes() comes to it in its turn: there
    // may be thousands.
    const bool by_routing = is_unspecified(question.source) && rule.source_entries.empty();
    if (flags != Answers::flags_for(question, rule) ||
        (!by_routing && answers_.is_outdated(answer))) {
      answers_.ask_again(question);
    }
  }
  for (std::uint32_t place = 0; place < work_.lanes.end(); ++place) {
    LaneRecord* record = work_.lanes.at(place);
    if (record == nullptr) continue;
    record->rejections = work_.hints(*record).rejections.load(std::memory_order_relaxed);
    record->rewritten = work_.hints(*record).rewritten.load(std::memory_order_relaxed);
  }
  review_.range_changed();
}

void Reconciler::bell_rung() {
  answers_.rung();
  attention_turns_.ask();
  work();
}

void Reconciler::process_ended(bool nobody_left) {
  pass_.process_ended(nobody_left);
  start_walk();
}

// A walk that breaks off now and then is tried again soon.
std::string Reconciler::trouble() const {
  const auto now = Clock::now();
  if (walker_.busy() && now - walk_began_ > kWalkPatience) {
    return fmt::format("the kernel's socket table: a reading of it has not ended for {}",
                       seconds_text(std::chrono::duration<double>(now - walk_began_).count()));
  }
  if (!walk_error_.empty() && now - walked_at_ > kWalkPatience) {
    return fmt::format("the kernel's socket table: {}", walk_error_);
  }
  return work_.settings.trouble();
}

void Reconciler::read_settings() {
  const LaneSettings::Changes changes = work_.settings.read();
  review_.sources_changed(changes.sources);
  if (changes.range) review_.range_changed();
  review_.look_at_routes();
  answers_.free_dead_slots();
}

void Reconciler::work() {
  const Slice slice;
  bool more = review_.run(slice);
  more |= answers_.run(slice);
  more |= pass_.run(slice);
  more |= room_.run(slice);
  if (more) loop_.set_timer(work_timer_, nanoseconds(0));
  start_walk();
}

// One at a time; a new lane's programs are on the kernel's path until then, and so it comes first.
void Reconciler::start_walk() {
  if (!walker_.busy()) {
    const bool blocked_due = Clock::now() >= blocked_due_;
    WalkOrder order;
    walk_for_ = For::nobody;
    if (answers_.wants_walk()) {
      order = answers_.begin_walk();
      order.blocked_too = true;
      walk_for_ = For::answers;
    } else if (pass_.wants_walk()) {
      order = pass_.begin_walk();
      walk_for_ = For::pass;
    }
    order.blocked_too |= blocked_due;
    order.reuse = work_.settings.reuse();
    order.reserved_too = work_.settings.reserved_are_blocked();
    if (walk_for_ != For::nobody || order.blocked_too) {
      walk_began_ = Clock::now();
      walker_.start(std::move(order), work_.blocked);
    }
  }
  set_timers();
}

void Reconciler::walk_ended() {
  std::unique_ptr<Walk> walk = walker_.finish();
  if (!walk) return;
  walk_error_ = walk->error;
  if (walk->error.empty()) {
    walked_at_ = Clock::now();
  } else {
    warn_once_a_minute("walk", fmt::format("the kernel's socket table: {}", walk->error));
  }
  if (walk->blocked_cpu.count() > 0) {
    if (walk->blocked_read) work_.blocked = walk->blocked;
    blocked_due_ =
        Clock::now() + std::max(walk->blocked_cpu * kBlockedShare, kShortestBlockedPause);
  }
  switch (std::exchange(walk_for_, For::nobody)) {
    case For::answers:
      answers_.walked(std::move(walk));
      break;
    case For::pass:
      pass_.walked(std::move(walk));
      break;
    case For::nobody:
      break;
  }
  work();
}

void Reconciler::set_timers() {
  if (answers_.waits()) loop_.set_timer(answers_timer_, answers_.until_due());
  if (!walker_.busy() && !pass_.under_way()) loop_.set_timer(pass_timer_, pass_.until_due());
}

}  // namespace portpool
