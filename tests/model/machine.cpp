#include "model/machine.h"

#include <setjmp.h>
#include <ucontext.h>

#include <array>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <unordered_set>

namespace portpool::model {
namespace {

constexpr std::size_t kMostThreads = 5;
constexpr std::size_t kStack = std::size_t{256} * 1024;

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst || order == std::memory_order_consume;
}
bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

// For each place, the earliest value that may still be read: its position in the place's history.
using View = std::vector<std::uint32_t>;

void join(View& into, const View& from) {
  if (into.size() < from.size()) into.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}
std::uint32_t& at(View& view, std::size_t place) {
  if (view.size() <= place) view.resize(place + 1);
  return view[place];
}
std::uint64_t hash_of(const View& view) {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < view.size(); ++i) {
    if (view[i] != 0) hash ^= mix(i << 32 | view[i]);
  }
  return hash;
}

struct Message {
  std::uint64_t value;
  View view;
};

struct Place {
  std::vector<Message> history;  // in modification order; weak memory alone
  std::uint32_t last_sc = 0;     // position of the last sequentially consistent store
};

struct Thread {
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStack);
  ucontext_t start;
  jmp_buf here;
  bool started = false;
  bool ended = false;
  Operation next{};          // what it is about to do
  std::size_t place = 0;     // of that
  std::uint32_t chosen = 0;  // the value that a load returns, by its position in the history
  std::uint64_t seen = 0;    // hash of all that it has read
  View now;
  View acquired;  // by loads, once there is an acquire fence
  View released;  // by the last release fence
};

struct Choice {
  int thread;
  std::uint32_t value;  // of a load: position in the history
};
struct Step {
  std::vector<Choice> choices;
  std::size_t taken;
  bool in_order = true;  // other threads' operations matter to it
};

class Explorer {
 public:
  Explorer(const Scenario& scenario, Memory memory, Mutation broken)
      : mutation(broken), weak_(memory == Memory::weak), scenario_(scenario) {}

  Outcome run();

  // ---- from the threads' side
  void arrive(const Operation& operation);
  std::uint64_t load(const Operation& operation, std::uint64_t now);
  void store(const Operation& operation, std::uint64_t now, std::uint64_t value);
  std::uint64_t begin_change(const Operation& operation, std::uint64_t now);
  void changed(const Operation& operation, std::uint64_t value);
  void fence(std::memory_order order);
  void violate(const std::string& what) {
    if (!draining_ && outcome_.violation.empty()) outcome_.violation = what;
  }
  bool in_thread() const { return current_ >= 0; }

  const Mutation mutation;

 private:
  static void enter();
  Thread& self() { return *threads_[static_cast<std::size_t>(current_)]; }
  void resume(int thread);
  bool one_run();
  Step choices();
  bool may_interrupt() const;
  void note_turn(const Step& step);
  bool is_private(const Thread& thread) const;
  std::uint32_t lowest(const Thread& thread) const;
  std::uint64_t key() const;
  std::size_t place_of(const void* address, std::uint64_t now);
  void remember(std::uint64_t value) { self().seen = mix(self().seen ^ mix(value + 1)); }
  void read_message(const Operation& operation, std::uint32_t position);
  void append(const Operation& operation, std::uint64_t value, const View* changed_from);
  std::memory_order order_of(const Operation& operation) const;

  bool weak_;
  const Scenario& scenario_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::unordered_map<const void*, std::size_t> index_;
  std::vector<Place> places_;
  std::vector<std::uint64_t> values_;
  std::uint64_t memory_ = 0;
  // Who has read and who has written each place, over all runs.
  std::vector<std::uint32_t> readers_;
  std::vector<std::uint32_t> writers_;
  std::vector<Step> path_;
  std::unordered_set<std::uint64_t> met_;
  int current_ = -1;
  bool draining_ = false;
  int last_ = -1;  // whose turn it was
  int interruptions_ = 0;
  jmp_buf scheduler_;
  View change_from_;
  Outcome outcome_;
};

Explorer* explorer;

void Explorer::enter() {
  const auto index = static_cast<std::size_t>(explorer->current_);
  explorer->scenario_.threads[index]();
  explorer->self().ended = true;
  _longjmp(explorer->scheduler_, 1);
}

// Goes on with a thread until its next operation.
void Explorer::resume(int thread) {
  current_ = thread;
  Thread& t = self();
  if (_setjmp(scheduler_) == 0) {
    if (t.started) _longjmp(t.here, 1);
    t.started = true;
    getcontext(&t.start);
    t.start.uc_stack.ss_sp = t.stack.get();
    t.start.uc_stack.ss_size = kStack;
    t.start.uc_link = nullptr;
    makecontext(&t.start, &Explorer::enter, 0);
    setcontext(&t.start);
  }
  current_ = -1;
}

// The thread stops here until it is its turn.
void Explorer::arrive(const Operation& operation) {
  Thread& t = self();
  t.next = operation;
  if (draining_) return;
  if (_setjmp(t.here) == 0) _longjmp(scheduler_, 1);
}

std::size_t Explorer::place_of(const void* address, std::uint64_t now) {
  const auto [found, fresh] = index_.emplace(address, index_.size());
  const std::size_t place = found->second;
  if (fresh) {
    readers_.push_back(0);
    writers_.push_back(0);
  }
  if (places_.size() <= place) {
    places_.resize(place + 1);
    values_.resize(place + 1);
  }
  if (places_[place].history.empty()) {
    places_[place].history.push_back({now, {}});
    values_[place] = now;
    memory_ ^= mix(mix(place + 1) + now);
  }
  return place;
}

std::memory_order Explorer::order_of(const Operation& operation) const {
  if (operation.kind == Kind::load && mutation == Mutation::relaxed_loads) {
    return std::memory_order_relaxed;
  }
  if (operation.kind == Kind::store && mutation == Mutation::relaxed_stores) {
    return std::memory_order_relaxed;
  }
  if (operation.kind == Kind::change && mutation == Mutation::relaxed_changes) {
    return std::memory_order_relaxed;
  }
  return operation.order;
}

void Explorer::read_message(const Operation& operation, std::uint32_t position) {
  Thread& t = self();
  const Message& message = places_[t.place].history[position];
  at(t.now, t.place) = std::max(at(t.now, t.place), position);
  join(acquires(order_of(operation)) ? t.now : t.acquired, message.view);
}

void Explorer::append(const Operation& operation, std::uint64_t value, const View* changed_from) {
  Thread& t = self();
  Place& place = places_[t.place];
  memory_ ^= mix(mix(t.place + 1) + values_[t.place]) ^ mix(mix(t.place + 1) + value);
  values_[t.place] = value;
  if (!weak_) {
    place.history.front().value = value;
    return;
  }
  const auto position = static_cast<std::uint32_t>(place.history.size());
  if (changed_from == nullptr && at(t.now, t.place) + 1 != position) {
    violate("two writers of one place are not ordered");
  }
  at(t.now, t.place) = position;
  View view = releases(order_of(operation)) ? t.now : t.released;
  at(view, t.place) = position;
  if (changed_from != nullptr) join(view, *changed_from);  // a release sequence goes on
  place.history.push_back({value, std::move(view)});
  if (order_of(operation) == std::memory_order_seq_cst) place.last_sc = position;
}

std::uint64_t Explorer::load(const Operation& operation, std::uint64_t now) {
  self().place = place_of(operation.place, now);
  arrive(operation);
  const std::size_t place = self().place;
  readers_[place] |= 1U << current_;
  std::uint64_t value = values_[place];
  if (weak_) {
    const std::uint32_t position =
        draining_ ? static_cast<std::uint32_t>(places_[place].history.size() - 1) : self().chosen;
    value = places_[place].history[position].value;
    read_message(operation, position);
  }
  remember(value);
  return value;
}

void Explorer::store(const Operation& operation, std::uint64_t now, std::uint64_t value) {
  self().place = place_of(operation.place, now);
  arrive(operation);
  writers_[self().place] |= 1U << current_;
  append(operation, value, nullptr);
  remember(0);
}

std::uint64_t Explorer::begin_change(const Operation& operation, std::uint64_t now) {
  self().place = place_of(operation.place, now);
  arrive(operation);
  const std::size_t place = self().place;
  readers_[place] |= 1U << current_;
  writers_[place] |= 1U << current_;
  if (weak_) {
    const auto last = static_cast<std::uint32_t>(places_[place].history.size() - 1);
    read_message(operation, last);
    change_from_ = places_[place].history[last].view;
  }
  remember(values_[place]);
  return values_[place];
}

void Explorer::changed(const Operation& operation, std::uint64_t value) {
  append(operation, value, &change_from_);
}

void Explorer::fence(std::memory_order order) {
  if (!weak_ || mutation == Mutation::no_fences) return;
  Thread& t = self();
  if (acquires(order)) join(t.now, t.acquired);
  if (releases(order)) join(t.released, t.now);
}

// No order with other threads' operations matters.
bool Explorer::is_private(const Thread& thread) const {
  const std::uint32_t who = readers_[thread.place] | writers_[thread.place];
  return writers_[thread.place] == 0 || (who & (who - 1)) == 0;
}

// The earliest value that a load may return.
std::uint32_t Explorer::lowest(const Thread& thread) const {
  const Place& place = places_[thread.place];
  const std::uint32_t seen = thread.place < thread.now.size() ? thread.now[thread.place] : 0;
  return order_of(thread.next) == std::memory_order_seq_cst ? std::max(seen, place.last_sc) : seen;
}

bool Explorer::may_interrupt() const {
  return scenario_.interruptions < 0 || last_ < 0 ||
         threads_[static_cast<std::size_t>(last_)]->ended ||
         interruptions_ < scenario_.interruptions;
}

void Explorer::note_turn(const Step& step) {
  if (!step.in_order) return;
  const int thread = step.choices[step.taken].thread;
  if (last_ >= 0 && thread != last_ && !threads_[static_cast<std::size_t>(last_)]->ended) {
    ++interruptions_;
  }
  last_ = thread;
}

Step Explorer::choices() {
  std::vector<Choice> all;
  const bool others = may_interrupt();
  for (int i = 0; i < static_cast<int>(threads_.size()); ++i) {
    const Thread& t = *threads_[static_cast<std::size_t>(i)];
    if (t.ended) continue;
    const auto last = static_cast<std::uint32_t>(places_[t.place].history.size() - 1);
    if (is_private(t)) return {{{i, last}}, 0, false};
    if (!others && i != last_) continue;
    const bool picks = weak_ && t.next.kind == Kind::load;
    for (std::uint32_t value = picks ? lowest(t) : last; value <= last; ++value) {
      all.push_back({i, value});
    }
  }
  return {std::move(all), 0};
}

std::uint64_t Explorer::key() const {
  std::uint64_t key = memory_;
  if (scenario_.interruptions >= 0)
    key ^= mix(static_cast<std::uint64_t>(interruptions_ * 8 + last_));
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    const Thread& t = *threads_[i];
    key = mix(key + mix(t.seen + i));
    if (!weak_) continue;
    key = mix(key ^ hash_of(t.now)) + hash_of(t.acquired) * 3 + hash_of(t.released) * 7;
  }
  if (!weak_) return key;
  for (const Place& place : places_) {
    key = mix(key + place.last_sc);
    for (const Message& message : place.history) {
      key = mix(key ^ message.value) + hash_of(message.view);
    }
  }
  return key;
}

// False: all has been tried.
bool Explorer::one_run() {
  ++outcome_.runs;
  memory_ = 0;
  places_.clear();
  places_.resize(index_.size());
  values_.assign(index_.size(), 0);
  scenario_.reset();
  for (auto& thread : threads_) {
    thread->started = thread->ended = false;
    thread->seen = 0;
    thread->now.clear();
    thread->acquired.clear();
    thread->released.clear();
  }
  draining_ = false;
  last_ = -1;
  interruptions_ = 0;
  for (int i = 0; i < static_cast<int>(threads_.size()); ++i) resume(i);
  bool new_state = true;
  for (std::size_t depth = 0; new_state; ++depth) {
    if (depth == path_.size()) {
      Step open = choices();
      if (open.choices.empty() || !outcome_.violation.empty()) break;
      // A step without a choice leads nowhere else.
      if (open.choices.size() > 1 && !met_.insert(key()).second) {
        new_state = false;
        break;
      }
      path_.push_back(std::move(open));
    }
    const Step& step = path_[depth];
    note_turn(step);
    const Choice& choice = step.choices[step.taken];
    threads_[static_cast<std::size_t>(choice.thread)]->chosen = choice.value;
    resume(choice.thread);
  }
  if (new_state && outcome_.violation.empty()) {
    outcome_.violation = scenario_.check();
  }
  if (!outcome_.violation.empty()) {
    for (const Step& step : path_) outcome_.schedule.push_back(step.choices[step.taken].thread);
  }
  // What the threads have on their stacks is given up in the ordinary way.
  draining_ = true;
  for (int i = 0; i < static_cast<int>(threads_.size()); ++i) {
    if (!threads_[static_cast<std::size_t>(i)]->ended) resume(i);
  }
  while (!path_.empty() && ++path_.back().taken == path_.back().choices.size()) path_.pop_back();
  return !path_.empty();
}

Outcome Explorer::run() {
  for (std::size_t i = 0; i < scenario_.threads.size(); ++i) {
    threads_.push_back(std::make_unique<Thread>());
  }
  std::size_t shared = 0;
  for (;;) {
    path_.clear();
    met_.clear();
    while (one_run() && outcome_.violation.empty()) {
    }
    outcome_.states = met_.size();
    // Places that have turned out to be shared were taken for private ones before.
    std::size_t now = 0;
    for (std::size_t i = 0; i < index_.size(); ++i) {
      const std::uint32_t who = readers_[i] | writers_[i];
      now += writers_[i] != 0 && (who & (who - 1)) != 0 ? 1U : 0U;
    }
    if (!outcome_.violation.empty() || now == shared) return outcome_;
    shared = now;
  }
}

}  // namespace

Outcome explore(const Scenario& scenario, Memory memory, Mutation mutation) {
  Explorer one(scenario, memory, mutation);
  explorer = &one;
  Outcome outcome = one.run();
  explorer = nullptr;
  return outcome;
}

void violate(const std::string& what) {
  if (explorer != nullptr) explorer->violate(what);
}

bool exploring() { return explorer != nullptr && explorer->in_thread(); }
std::uint64_t load(const Operation& operation, std::uint64_t now) {
  return explorer->load(operation, now);
}
void store(const Operation& operation, std::uint64_t now, std::uint64_t value) {
  explorer->store(operation, now, value);
}
std::uint64_t begin_change(const Operation& operation, std::uint64_t now) {
  return explorer->begin_change(operation, now);
}
void changed(const Operation& operation, std::uint64_t value) {
  explorer->changed(operation, value);
}
void unchanged() {}
void fence(std::memory_order order) {
  if (exploring()) explorer->fence(order);
}
bool tears() { return explorer->mutation == Mutation::torn; }

}  // namespace portpool::model
