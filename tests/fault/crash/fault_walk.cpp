#include "fault/crash/fault_walk.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "support/eventually.h"

namespace portpool::test {
namespace {

using std::chrono::milliseconds;

// Steps and time in which it has to happen. A TIME_WAIT is in the way for a second.
constexpr int kPatience = 40;
constexpr milliseconds kLeastPatience{1000};
const std::string kFirstAddress = "10.77.0.1";
const std::string kSecondAddress = "10.77.0.2";
// Lanes toward it leave by these, too, once the configuration says so.
const std::string kNamed = R"([[pool]]
name = "named"
destinations = ["127.0.0.1:9002"]
sources = ["10.77.0.1", "10.77.0.2"]
)";

}  // namespace

FaultWalk::FaultWalk(CrashControl& control, const WalkShape& shape, std::uint64_t seed)
    : RandomWalk(shape, seed), control_(control) {
  net_.add_address(kFirstAddress + "/32");
}

FaultRow FaultWalk::try_out(const Fault& fault, int times) {
  const WalkCounts before = counts_;
  const std::uint64_t obeyed_before = control_.obeyed();
  counts_.worst_recovery = milliseconds(0);
  for (int i = 0; i < times && !testing::Test::HasFailure(); ++i) try_once(fault);
  if (!testing::Test::HasFailure()) {
    come_to_rest();
    rest();
  }
  FaultRow row{control_.obeyed() - obeyed_before,
               counts_.wrong_errors + counts_.stuck - before.wrong_errors - before.stuck,
               counts_.wrong_connections - before.wrong_connections,
               counts_.ports_lost - before.ports_lost, counts_.worst_recovery};
  counts_.worst_recovery = std::max(counts_.worst_recovery, before.worst_recovery);
  if (fault.point->passed == Passed::by_new_lanes && !testing::Test::HasFailure()) {
    collect_counts();
    poold_.restart();
  }
  return row;
}

void FaultWalk::try_once(const Fault& fault) {
  if (!daemon_lives()) restart_dead_daemon();
  note("order: " + fault.words());
  const std::uint64_t before = control_.obeyed();
  begin_step();
  control_.order(fault.point->name, fault.signal,
                 static_cast<std::uint32_t>(1 + pick(most_passages(fault.point->passed))),
                 random_hold(fault.point->passed));
  // In a small range nothing else would happen any more.
  net_.set_sysctl("net.ipv4.tcp_tw_reuse", "1");
  const auto since = std::chrono::steady_clock::now();
  for (int i = 0; control_.obeyed() == before; ++i) {
    if (i >= kPatience && std::chrono::steady_clock::now() - since > kLeastPatience) break;
    if (testing::Test::HasFailure()) return;
    one_step(fault.point->passed);
  }
  control_.withdraw();
  while (control_.somebody_is_stopped() && !testing::Test::HasFailure()) {
    one_step(Passed::by_connecting);
  }
}

int FaultWalk::most_passages(Passed passed) const {
  switch (passed) {
    case Passed::by_connecting:
    case Passed::by_closing:
      return std::clamp(shape_.ports, 2, 30);
    case Passed::by_reconciling:
      return 6;
    case Passed::by_new_lanes:
      return 3;
    default:
      return 1;
  }
}

milliseconds FaultWalk::random_hold(Passed passed) {
  const int kind = pick(passed == Passed::by_taking_over ? 30 : 10);
  // poold waits three seconds for a successor (daemon/take_over.h).
  if (kind == 29) return milliseconds(3500);
  if (kind == 9) return milliseconds(300 + pick(1200));
  if (kind > 5) return milliseconds(50 + pick(150));
  return milliseconds(pick(kind < 3 ? 5 : 50));
}

void FaultWalk::one_step(Passed passed) {
  begin_step();
  const int dice = pick(100);
  if (dice < 60) {
    provoke(passed);
  } else if (dice < 94) {
    random_step();
  } else if (dice < 97) {
    change_configuration();
  } else {
    change_addresses();
  }
  check_table();
  replace_killed();
  if (!daemon_lives() && pick(3) == 0) restart_dead_daemon();
}

void FaultWalk::provoke(Passed passed) {
  switch (passed) {
    case Passed::by_connecting:
    case Passed::by_closing:
      break;
    case Passed::by_starting:
      kill_worker();
      break;
    case Passed::by_reconciling:
      usleep(static_cast<useconds_t>(pick(60'000)));
      break;
    case Passed::by_new_lanes:
      ask_for_new_lanes();
      break;
    case Passed::by_taking_over:
      return hand_over();
  }
  storm();
}

// All workers at once close some and connect.
void FaultWalk::storm() {
  std::vector<Order> orders;
  for (std::size_t worker = 0; worker < workers_.size(); ++worker) {
    const int share = 1 + pick(3);
    for (const auto& [id, connection] : connections_) {
      if (connection.worker != worker || !connection.owner_alive || pick(share) != 0) continue;
      const int how = pick(8);
      orders.push_back({worker, id, "", how == 0 ? "normal" : how == 1 ? "raw" : "reset"});
    }
    for (int i = pick(2 + std::min(shape_.ports / 4, 40)); i >= 0; --i) {
      orders.push_back(connect_order(worker));
    }
  }
  std::shuffle(orders.begin(), orders.end(), random_);
  carry_out(orders);
}

void FaultWalk::ask_for_new_lanes() {
  const std::string destination =
      "127." + std::to_string(1 + pick(250)) + "." + std::to_string(pick(250)) + ".1:9001";
  note("new lane " + destination);
  for (int i = 0; i < 2; ++i) {
    ask(0, "probe " + destination + " plain");
    usleep(static_cast<useconds_t>(pick(5'000)));
  }
}

void FaultWalk::hand_over() {
  if (!daemon_is_well()) return;
  note("a successor");
  auto successor = poold_.start_successor();
  storm();
  Process& old = poold_.process();
  const bool decided = eventually([&] {
    tend();
    return !old.running() || !successor->running();
  });
  EXPECT_TRUE(decided) << "two daemons\n" << old.err() << successor->err() << history();
  if (old.running()) return;
  EXPECT_TRUE(successor->running()) << "no daemon is left\n"
                                    << old.err() << successor->err() << history();
  if (!successor->running()) return;
  EXPECT_TRUE(control_.was_killed(old.pid()) || old.wait() == 0) << old.err() << history();
  poold_.go_on_with(std::move(successor));
}

void FaultWalk::change_configuration() {
  if (!daemon_is_well()) return;
  const bool named = pick(2) == 0;
  const bool balances = pick(2) == 0;
  note(std::string("configuration with ") + (named ? "named sources" : "no pool"));
  std::string text = std::string("strategy = \"") + shape_.strategy +
                     "\"\nsources_optional = true\n" + (named ? kNamed : "");
  if (named && balances) text += "source_policy = \"balance\"\n";
  poold_.reload(text);
}

void FaultWalk::change_addresses() {
  note(kSecondAddress + (second_address_ ? " goes" : " comes"));
  if (second_address_) {
    // What they would still have to say to each other could not arrive.
    std::vector<Order> orders;
    std::set<pid_t> children;
    for (const auto& [id, connection] : connections_) {
      if (connection.source != kSecondAddress) continue;
      children.insert(connection.children.begin(), connection.children.end());
      if (connection.owner_alive) orders.push_back({connection.worker, id, "", "reset"});
    }
    carry_out(orders);
    for (const pid_t child : children) end_child(child);
    net_.remove_address(kSecondAddress + "/32");
  } else {
    net_.add_address(kSecondAddress + "/32");
  }
  second_address_ = !second_address_;
}

void FaultWalk::restart_daemon() {
  // It would not come up with an order to die at once.
  if (daemon_is_well() && !control_.is_given()) RandomWalk::restart_daemon();
}

void FaultWalk::before_answer(std::size_t worker) {
  while (control_.is_given() || control_.somebody_is_stopped()) {
    if (workers_[worker]->says_something_within(milliseconds(1))) return;
    tend();
  }
}

void FaultWalk::worker_ended(std::size_t worker, const std::runtime_error& error) {
  tend();
  if (!control_.was_killed(workers_[worker]->pid())) throw std::runtime_error(error);
}

void FaultWalk::tend() { control_.tend(); }

void FaultWalk::replace_killed() {
  tend();
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (control_.was_killed(workers_[i]->pid())) ended_.insert(i);
  }
  replace_ended();
}

bool FaultWalk::daemon_lives() {
  tend();
  // Who has obeyed may take a moment to be gone.
  return poold_.process().running() && !control_.was_killed(poold_.process().pid());
}

bool FaultWalk::daemon_is_well() {
  return daemon_lives() && !control_.is_stopped(poold_.process().pid());
}

void FaultWalk::restart_dead_daemon() {
  tend();
  EXPECT_TRUE(control_.was_killed(poold_.process().pid()))
      << "poold ended by itself: " << poold_.process().err() << history();
  note("a new poold");
  poold_.process().wait();
  poold_.restart();
}

void FaultWalk::come_to_rest() {
  control_.withdraw();
  while (control_.somebody_is_stopped()) {
    tend();
    std::this_thread::sleep_for(milliseconds(1));
  }
  replace_killed();
  if (!daemon_lives()) restart_dead_daemon();
}

}  // namespace portpool::test
