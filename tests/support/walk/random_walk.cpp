#include "support/walk/random_walk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <queue>
#include <sstream>
#include <system_error>
#include <tuple>

#include "support/eventually.h"
#include "support/sockets.h"
#include "support/walk/kernel_table.h"
#include "support/walk/lane_check.h"

namespace portpool::test {
namespace {

constexpr int kLow = 20000;
constexpr std::size_t kShimmed = 4;
constexpr std::size_t kForeign = 2;
constexpr std::size_t kHistory = 30;
// In which poold agrees with the kernel's table, on a machine that is not overloaded.
constexpr std::chrono::seconds kPromised{2};
// After a connect() that failed where the kernel can: how often the same is tried again.
constexpr int kRetries = 3;
// Orders that a worker may have before its first answer is read. A socket's buffer
// (net.core.wmem_default) holds about 270 messages as short as these: with more under way, worker
// and driver would wait for each other to read.
constexpr std::size_t kUnanswered = 100;
const std::vector<std::string> kDestinations{"127.0.0.1:9001", "127.0.0.1:9002", "[::1]:9001"};

const std::string kEnded = "ended";

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

template <class Map>
auto random_entry(Map& map, std::mt19937_64& random) {
  auto entry = map.begin();
  std::advance(entry, static_cast<std::ptrdiff_t>(random() % map.size()));
  return entry;
}

// A generator per step: a step that goes another way does not change the choices of the next.
std::mt19937_64 generator_for(std::uint64_t seed, std::uint64_t step) {
  std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                         static_cast<std::uint32_t>(step)};
  return std::mt19937_64(sequence);
}

}  // namespace

RandomWalk::RandomWalk(const WalkShape& shape, std::uint64_t seed)
    : shape_(shape),
      seed_(seed),
      random_(generator_for(seed, 0)),
      poold_(std::string("strategy = \"") + shape.strategy + "\"\n", shape.poold) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe");
  }
  lifeline_ = Descriptor(ends[0]);
  lifeline_held_ = Descriptor(ends[1]);
  // Children of workers that were killed become ours, to be waited for.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  net_.set_port_range(range().first, range().second);
  workers_.resize(kShimmed + kForeign);
  for (std::size_t i = 0; i < workers_.size(); ++i) start_worker(i);
  native_ = std::make_unique<Worker>(native(), lifeline_.get());
}

RandomWalk::~RandomWalk() {
  while (!children_.empty()) end_child(children_.begin()->first);
  workers_.clear();
  native_.reset();
}

void RandomWalk::start_worker(std::size_t index) {
  workers_[index].reset();
  Under under = native();
  if (is_shimmed(index)) under = poold_.shim(preload_environment(shape_.shim));
  workers_[index] = std::make_unique<Worker>(under, lifeline_.get());
}

void RandomWalk::replace_worker(std::size_t index) {
  ended_.erase(index);
  start_worker(index);  // ends the old one
  for (auto& [id, connection] : connections_) {
    if (connection.worker == index) connection.owner_alive = false;
  }
  drop_closed();
  std::erase_if(held_ports_, [&](const auto& entry) { return entry.second.first == index; });
}

void RandomWalk::replace_ended() {
  while (!ended_.empty()) replace_worker(*ended_.begin());
}

void RandomWalk::worker_ended(std::size_t /*worker*/, const std::runtime_error& error) {
  throw error;
}

void RandomWalk::send(std::size_t worker, const std::string& command) {
  if (ended_.contains(worker)) return;
  try {
    workers_[worker]->send(command);
  } catch (const std::system_error& error) {
    worker_ended(worker, error);
    ended_.insert(worker);
  }
}

std::string RandomWalk::answer_of(std::size_t worker) {
  if (ended_.contains(worker)) return kEnded;
  before_answer(worker);
  try {
    return workers_[worker]->answer();
  } catch (const std::runtime_error& error) {
    worker_ended(worker, error);
    ended_.insert(worker);
    return kEnded;
  }
}

std::string RandomWalk::ask(std::size_t worker, const std::string& command) {
  send(worker, command);
  std::string answer = answer_of(worker);
  replace_ended();
  return answer;
}

bool RandomWalk::is_shimmed(std::size_t worker) const { return worker < kShimmed; }

void RandomWalk::note(const std::string& text) {
  history_.push_back(std::to_string(counts_.steps) + ": " + text);
  if (history_.size() > kHistory) history_.pop_front();
}

std::string RandomWalk::history() const {
  std::string text = "last steps:\n";
  for (const std::string& line : history_) text += "  " + line + "\n";
  return text;
}

std::pair<int, int> RandomWalk::range() const {
  const int size[] = {shape_.ports, (shape_.ports + 1) / 2, shape_.ports + shape_.ports / 2};
  return {kLow, kLow + size[range_choice_] - 1};
}

void RandomWalk::step() {
  begin_step();
  random_step();
  check_table();
}

void RandomWalk::begin_step() { random_ = generator_for(seed_, ++counts_.steps); }

void RandomWalk::random_step() {
  const int dice = pick(1000);
  if (dice < 600) {
    burst();
  } else if (dice < 680) {
    flood();
  } else if (dice < 800) {
    close_many();
  } else if (dice < 830) {
    fork_child();
  } else if (dice < 860) {
    kill_child();
  } else if (dice < 880) {
    kill_worker();
  } else if (dice < 900) {
    change_range();
  } else if (dice < 925) {
    change_reuse();
  } else if (dice < 930) {
    restart_daemon();
  } else if (dice < 965) {
    hold_port();
  } else {
    release_port();
  }
  if (pick(4) == 0) usleep(static_cast<useconds_t>(pick(20'000)));
}

// Several workers at once, each with a connection to make or to close.
void RandomWalk::burst() {
  std::vector<std::size_t> who(workers_.size());
  for (std::size_t i = 0; i < who.size(); ++i) who[i] = i;
  std::shuffle(who.begin(), who.end(), random_);
  who.resize(1 + static_cast<std::size_t>(pick(4)));
  std::vector<Order> orders;
  for (const std::size_t worker : who) {
    auto order = pick(2) == 0 ? close_order(worker) : std::nullopt;
    orders.push_back(order ? *order : connect_order(worker));
  }
  carry_out(orders);
}

// Many connections of one worker to one destination: the last ports are reached.
void RandomWalk::flood() {
  const auto worker = static_cast<std::size_t>(pick(static_cast<int>(workers_.size())));
  const std::string& destination = kDestinations[static_cast<std::size_t>(pick(3))];
  std::vector<Order> orders;
  for (int left = shape_.ports / 4 + pick(shape_.ports / 2 + 1); left > 0; --left) {
    orders.push_back({worker, next_id_++, destination, "plain"});
  }
  carry_out(orders);
}

void RandomWalk::close_many() {
  std::vector<Order> orders;
  for (std::size_t worker = 0; worker < workers_.size(); ++worker) {
    if (pick(2) == 0) continue;
    const int share = 1 + pick(3);
    const int how = pick(6);
    for (const auto& [id, connection] : connections_) {
      if (connection.worker != worker || !connection.owner_alive || pick(share) != 0) continue;
      orders.push_back({worker, id, "", how == 0 ? "normal" : how == 1 ? "raw" : "reset"});
    }
  }
  carry_out(orders);
}

RandomWalk::Order RandomWalk::connect_order(std::size_t worker) {
  const int how = pick(6);
  return {worker, next_id_++, kDestinations[static_cast<std::size_t>(pick(3))],
          // Natively bind(address, 0) takes a port for every destination: it fails earlier.
          how == 0                         ? "nonblocking"
          : how == 1 && is_shimmed(worker) ? "bound"
          : how < 4                        ? "lingering"
                                           : "plain"};
}

std::optional<RandomWalk::Order> RandomWalk::close_order(std::size_t worker) {
  std::vector<int> own;
  for (const auto& [id, connection] : connections_) {
    if (connection.worker == worker && connection.owner_alive) own.push_back(id);
  }
  if (own.empty()) return std::nullopt;
  const int how = pick(8);
  return Order{worker, own[random_() % own.size()], "",
               how < 2   ? "normal"
               : how < 4 ? "raw"
                         : "reset"};
}

void RandomWalk::carry_out(const std::vector<Order>& orders) {
  std::string text;
  for (const Order& order : orders) {
    text += " w" + std::to_string(order.worker) + (order.destination.empty() ? " close " : " ") +
            order.how + " " + std::to_string(order.id) + " " + order.destination + ",";
  }
  note(text.size() > 400 ? text.substr(0, 400) + "..." : text);
  std::vector<std::string> answers(orders.size());
  std::vector<std::queue<std::size_t>> unanswered(workers_.size());
  const auto await_answer = [&](std::size_t worker) {
    answers[unanswered[worker].front()] = answer_of(worker);
    unanswered[worker].pop();
  };
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const Order& order = orders[i];
    const std::string id = std::to_string(order.id);
    if (unanswered[order.worker].size() == kUnanswered) await_answer(order.worker);
    send(order.worker, order.destination.empty()
                           ? "close " + id + " " + order.how
                           : "connect " + id + " " + order.destination + " " + order.how);
    unanswered[order.worker].push(i);
  }
  for (std::size_t worker = 0; worker < workers_.size(); ++worker) {
    while (!unanswered[worker].empty()) await_answer(worker);
  }
  // Only now: what follows may connect, too.
  bool nothing_freed = ended_.empty();
  for (std::size_t i = 0; i < orders.size(); ++i) {
    if (answers[i] == kEnded) continue;
    if (orders[i].destination.empty()) {
      nothing_freed = false;
      note_close(orders[i]);
    } else {
      note_connected(orders[i], words_of(answers[i]));
    }
  }
  replace_ended();
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const std::vector<std::string> words = words_of(answers[i]);
    if (words.at(0) == "failed") {
      look_into(orders[i], std::stoi(words.at(1)), std::stoi(words.at(2)),
                nothing_freed && !waiting_.contains(orders[i].destination));
    }
  }
}

void RandomWalk::note_close(const Order& order) {
  connections_.at(order.id).owner_alive = false;
  drop_closed();
}

void RandomWalk::note_connected(const Order& order, const std::vector<std::string>& answer) {
  ++counts_.connects;
  if (answer.at(0) == "failed") return;
  if (answer.at(0) != "ok") {
    ++counts_.wrong_connections;
    ADD_FAILURE() << answer.at(0) << ": " << order.destination << "\n" << history();
    return;
  }
  connections_[order.id] = {order.worker, order.destination,
                            answer.at(2), static_cast<std::uint16_t>(std::stoi(answer.at(1))),
                            true,         {}};
}

bool RandomWalk::kernel_can(const Order& order) {
  return native_->ask("probe " + order.destination + " " + order.how).starts_with("ok");
}

// A connect() failed. Nothing else is going on now, so ports only become free: where the kernel's
// own path still works, the same call must work too.
void RandomWalk::look_into(const Order& order, int error, int port, bool nothing_freed) {
  // A bind(address, 0) that no daemon defers fails with the other of the two.
  const bool no_port = error == EADDRNOTAVAIL || (order.how == "bound" && error == EADDRINUSE);
  if (!no_port) {
    ++counts_.wrong_errors;
    ADD_FAILURE() << error_name(error) << " " << order.destination << "\n" << history();
  }
  // The kernel's own search has the last word natively.
  if (!is_shimmed(order.worker)) return;
  // The program bound a port by itself where no daemon defers that: the kernel chose it at random,
  // and it may be in use toward this destination.
  if (order.how == "bound" && port != 0) {
    ++counts_.own_binds;
    return;
  }
  const bool bound = std::string(shape_.strategy) == "bind" && port != 0;
  if (bound && kernel_can(order)) ++counts_.stuck;
  if (nothing_freed && !bound && kernel_can(order)) {
    ++counts_.wrong_errors;
    ADD_FAILURE() << "w" << order.worker << " could not connect to " << order.destination << " ("
                  << order.how << ") where the kernel's own path could\n"
                  << history();
    return;
  }
  for (int retry = 0;; ++retry) {
    if (!kernel_can(order)) {
      ++counts_.exhausted;
      return;
    }
    const int id = next_id_++;
    const std::string answer = ask(
        order.worker, "connect " + std::to_string(id) + " " + order.destination + " " + order.how);
    if (answer == kEnded) continue;
    const std::vector<std::string> words = words_of(answer);
    note_connected({order.worker, id, order.destination, order.how}, words);
    if (words.at(0) != "failed") {
      ++counts_.recovered;
      return;
    }
    if (order.how == "bound" && words.at(2) != "0") {
      ++counts_.own_binds;
      return;
    }
    const bool stuck_again = bound && words.at(0) == "failed" && words.at(2) != "0";
    if (stuck_again && retry < kRetries) continue;
    if (stuck_again) return;
    if (!kernel_can(order)) continue;
    ++counts_.wrong_errors;
    ADD_FAILURE() << "w" << order.worker << " cannot connect to " << order.destination << " ("
                  << order.how << "): " << answer << " where the kernel's own path can\n"
                  << history() << poold_.status().dump(1);
    return;
  }
}

void RandomWalk::fork_child() {
  const auto worker = static_cast<std::size_t>(pick(static_cast<int>(workers_.size())));
  const std::string answer = ask(worker, "fork");
  if (answer == kEnded) return;
  const pid_t child = std::stoi(words_of(answer).at(1));
  note("w" + std::to_string(worker) + " forks " + std::to_string(child));
  children_[child] = worker;
  for (auto& [id, connection] : connections_) {
    if (connection.worker == worker && connection.owner_alive) connection.children.insert(child);
  }
  for (auto& [id, held] : held_ports_) {
    // A bound port would outlive its release: not what this step is about.
    if (held.first == worker) return end_child(child);
  }
}

void RandomWalk::kill_child() {
  if (children_.empty()) return;
  const pid_t child = random_entry(children_, random_)->first;
  note("kill child " + std::to_string(child));
  end_child(child);
}

void RandomWalk::end_child(pid_t child) {
  kill(child, SIGKILL);
  // Its worker reaps it, or we do when the worker is gone.
  eventually([&] {
    waitpid(child, nullptr, WNOHANG);
    return kill(child, 0) != 0;
  });
  children_.erase(child);
  for (auto& [id, connection] : connections_) connection.children.erase(child);
  drop_closed();
}

void RandomWalk::drop_closed() {
  std::erase_if(connections_, [](const auto& entry) {
    return !entry.second.owner_alive && entry.second.children.empty();
  });
}

void RandomWalk::kill_worker() {
  const auto worker = static_cast<std::size_t>(pick(static_cast<int>(workers_.size())));
  note("kill -9 w" + std::to_string(worker));
  replace_worker(worker);
}

void RandomWalk::change_range() {
  range_choice_ = pick(3);
  note("ip_local_port_range ends at " + std::to_string(range().second));
  net_.set_port_range(range().first, range().second);
}

void RandomWalk::change_reuse() {
  const std::string value = std::to_string(pick(3));
  note("tcp_tw_reuse " + value);
  net_.set_sysctl("net.ipv4.tcp_tw_reuse", value);
}

void RandomWalk::restart_daemon() {
  note("kill -9 poold, and a new one");
  collect_counts();
  poold_.kill();
  if (pick(2) == 0) burst();
  poold_.restart();
}

// A foreign program binds a port of the range without connecting: no lane may use it.
void RandomWalk::hold_port() {
  const std::size_t worker = kShimmed + static_cast<std::size_t>(pick(kForeign));
  const auto port = static_cast<std::uint16_t>(kLow + pick(shape_.ports));
  const int id = next_id_++;
  const std::string address = (pick(2) == 0 ? "127.0.0.1:" : "[::1]:") + std::to_string(port);
  const std::string answer = workers_[worker]->ask("bind " + std::to_string(id) + " " + address +
                                                   (pick(2) == 0 ? " listen" : " bound"));
  note("w" + std::to_string(worker) + " binds " + address + ": " + answer);
  if (answer == "ok") held_ports_[id] = {worker, port};
}

void RandomWalk::release_port() {
  if (held_ports_.empty()) return;
  const auto held = random_entry(held_ports_, random_);
  note("release of port " + std::to_string(held->second.second));
  workers_[held->second.first]->ask("close " + std::to_string(held->first) + " normal");
  held_ports_.erase(held);
}

std::set<std::uint16_t> RandomWalk::blocked_ports() const {
  std::set<std::uint16_t> ports;
  for (const auto& [id, held] : held_ports_) ports.insert(held.second);
  return ports;
}

// Each connection that somebody holds is in the kernel's table, with the address and port that its
// worker saw.
void RandomWalk::check_table() {
  using Ends = std::tuple<std::string, std::string, std::uint16_t>;
  std::set<Ends> established;
  waiting_.clear();
  for (const TableRow& row : read_kernel_table()) {
    if (row.state == TCP_ESTABLISHED) {
      established.emplace(row.remote, row.local_address, row.local_port);
    }
    if (row.time_wait_timer) waiting_.insert(row.remote);
  }
  std::set<Ends> held;
  for (const auto& [id, connection] : connections_) {
    const Ends ends{connection.destination, connection.source, connection.port};
    const bool there = established.contains(ends);
    if (there && held.insert(ends).second) continue;
    ++counts_.wrong_connections;
    ADD_FAILURE() << connection.destination << " from port " << connection.port
                  << (there ? " is held twice\n" : " is not established\n") << history();
  }
}

void RandomWalk::rest() {
  note("rest");
  // With a daemon that came a moment ago there would be no lane to compare.
  auto since = std::chrono::steady_clock::now();
  EXPECT_TRUE(eventually([&] {
    since = std::chrono::steady_clock::now();
    ask(0, "probe " + kDestinations[0] + " plain");
    return !poold_.status().at("lanes").empty();
  })) << "no lane\n"
      << history();
  LaneDifferences found;
  std::string differences;  // the last
  std::size_t lanes = 0;
  const bool agree = eventually([&] {
    const std::vector<TableRow> before = read_kernel_table();
    const nlohmann::json status = poold_.status();
    if (before == read_kernel_table()) {
      found = lane_differences(status, before, range(), blocked_ports());
    } else {
      found.text = "the kernel's table does not come to rest";
    }
    lanes = status.at("lanes").size();
    if (!found.text.empty()) differences = found.text;
    return found.text.empty();
  });
  const auto recovery = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - since);
  counts_.worst_recovery = std::max(counts_.worst_recovery, recovery);
  if (recovery > kPromised) {
    std::printf("equal to the kernel's table after %lld ms; until then:\n%s",
                static_cast<long long>(recovery.count()), differences.c_str());
  }
  counts_.lanes_compared += lanes;
  if (!agree) counts_.ports_lost += static_cast<std::uint64_t>(found.ports_lost);
  EXPECT_TRUE(agree) << found.text << history() << poold_.status().dump(1) << "\npoold said:\n"
                     << poold_.process().err();
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const std::string answer = ask(i, "echo-all");
    if (answer.starts_with("ok")) continue;
    ++counts_.wrong_connections;
    ADD_FAILURE() << "w" << i << ": " << answer << "\n" << history();
  }
  check_held();
  check_table();
}

// Nobody else has a connection.
void RandomWalk::check_held() {
  using Ends = std::pair<std::string, std::uint16_t>;
  const std::vector<TableRow> table = read_kernel_table();
  for (const std::string& destination : kDestinations) {
    std::set<Ends> held;
    for (const auto& [id, connection] : connections_) {
      if (connection.destination == destination) held.emplace(connection.source, connection.port);
    }
    std::set<Ends> used;
    for (const TableRow& row : table) {
      if (row.remote == destination && !row.time_wait_timer) {
        used.emplace(row.local_address, row.local_port);
      }
    }
    if (used == held) continue;
    ++counts_.wrong_connections;
    EXPECT_EQ(used, held) << destination
                          << ": sockets that nobody should have, or that somebody lost\n"
                          << history();
  }
}

void RandomWalk::collect_counts() {
  const nlohmann::json status = poold_.status();
  counts_.by_pool += pool_connects(status);
  counts_.by_kernel += kernel_connects(status);
  counts_.rejections += status.at("rejections").get<std::uint64_t>();
}

void RandomWalk::finish() {
  rest();
  collect_counts();
}

}  // namespace portpool::test
