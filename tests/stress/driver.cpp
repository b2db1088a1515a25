#include "stress/driver.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <queue>
#include <sstream>
#include <system_error>

#include "stress/kernel_table.h"
#include "stress/lane_check.h"
#include "support/eventually.h"
#include "support/sockets.h"

namespace portpool::test {
namespace {

constexpr int kLow = 20000;
constexpr std::size_t kShimmed = 4;
constexpr std::size_t kForeign = 2;
constexpr std::size_t kHistory = 30;
// After a connect() that failed where the kernel can: how often the same is tried again.
constexpr int kRetries = 3;
// Orders that a worker may have before its first answer is read. A socket's buffer
// (net.core.wmem_default) holds about 270 messages as short as these: with more under way, worker
// and driver would wait for each other to read.
constexpr std::size_t kUnanswered = 100;
const std::vector<std::string> kDestinations{"127.0.0.1:9001", "127.0.0.1:9002", "[::1]:9001"};

std::string source_for(const std::string& destination) {
  return destination.starts_with('[') ? "::1" : "127.0.0.1";
}

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

StressDriver::StressDriver(const StressShape& shape, std::uint64_t seed)
    : shape_(shape),
      seed_(seed),
      random_(generator_for(seed, 0)),
      poold_(std::string("strategy = \"") + shape.strategy + "\"\n") {
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

StressDriver::~StressDriver() {
  while (!children_.empty()) end_child(children_.begin()->first);
  workers_.clear();
  native_.reset();
}

void StressDriver::start_worker(std::size_t index) {
  workers_[index] =
      std::make_unique<Worker>(is_shimmed(index) ? poold_.shim() : native(), lifeline_.get());
}

bool StressDriver::is_shimmed(std::size_t worker) const { return worker < kShimmed; }

void StressDriver::note(const std::string& text) {
  history_.push_back(std::to_string(counts_.steps) + ": " + text);
  if (history_.size() > kHistory) history_.pop_front();
}

std::string StressDriver::history() const {
  std::string text = "last steps:\n";
  for (const std::string& line : history_) text += "  " + line + "\n";
  return text;
}

std::pair<int, int> StressDriver::range() const {
  const int size[] = {shape_.ports, shape_.ports / 2, shape_.ports + shape_.ports / 2};
  return {kLow, kLow + size[range_choice_] - 1};
}

void StressDriver::step() {
  random_ = generator_for(seed_, ++counts_.steps);
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
  check_table();
}

// Several workers at once, each with a connection to make or to close.
void StressDriver::burst() {
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
void StressDriver::flood() {
  const auto worker = static_cast<std::size_t>(pick(static_cast<int>(workers_.size())));
  const std::string& destination = kDestinations[static_cast<std::size_t>(pick(3))];
  std::vector<Order> orders;
  for (int left = shape_.ports / 4 + pick(shape_.ports / 2); left > 0; --left) {
    orders.push_back({worker, next_id_++, destination, "plain"});
  }
  carry_out(orders);
}

void StressDriver::close_many() {
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

StressDriver::Order StressDriver::connect_order(std::size_t worker) {
  const int how = pick(4);
  return {worker, next_id_++, kDestinations[static_cast<std::size_t>(pick(3))],
          // Natively bind(address, 0) takes a port for every destination: it fails earlier.
          how == 0                         ? "nonblocking"
          : how == 1 && is_shimmed(worker) ? "bound"
                                           : "plain"};
}

std::optional<StressDriver::Order> StressDriver::close_order(std::size_t worker) {
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

void StressDriver::carry_out(const std::vector<Order>& orders) {
  std::string text;
  for (const Order& order : orders) {
    text += " w" + std::to_string(order.worker) + (order.destination.empty() ? " close " : " ") +
            order.how + " " + std::to_string(order.id) + " " + order.destination + ",";
  }
  note(text.size() > 400 ? text.substr(0, 400) + "..." : text);
  std::vector<std::string> answers(orders.size());
  std::vector<std::queue<std::size_t>> unanswered(workers_.size());
  const auto await_answer = [&](std::size_t worker) {
    answers[unanswered[worker].front()] = workers_[worker]->answer();
    unanswered[worker].pop();
  };
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const Order& order = orders[i];
    const std::string id = std::to_string(order.id);
    if (unanswered[order.worker].size() == kUnanswered) await_answer(order.worker);
    workers_[order.worker]->send(order.destination.empty()
                                     ? "close " + id + " " + order.how
                                     : "connect " + id + " " + order.destination + " " + order.how);
    unanswered[order.worker].push(i);
  }
  for (std::size_t worker = 0; worker < workers_.size(); ++worker) {
    while (!unanswered[worker].empty()) await_answer(worker);
  }
  // Only now: what follows may connect, too.
  for (std::size_t i = 0; i < orders.size(); ++i) {
    if (orders[i].destination.empty()) {
      note_close(orders[i]);
    } else {
      note_connect(orders[i], answers[i]);
    }
  }
}

void StressDriver::note_close(const Order& order) {
  connections_.at(order.id).owner_alive = false;
  drop_closed();
}

void StressDriver::note_connect(const Order& order, const std::string& answer) {
  ++counts_.connects;
  const std::vector<std::string> words = words_of(answer);
  if (words.at(0) == "failed") {
    look_into(order, std::stoi(words.at(1)), std::stoi(words.at(2)));
    return;
  }
  EXPECT_EQ(words.at(0), "ok") << answer << ": " << order.destination << "\n" << history();
  connections_[order.id] = {order.worker,
                            order.destination,
                            static_cast<std::uint16_t>(std::stoi(words.at(1))),
                            true,
                            {}};
}

bool StressDriver::kernel_can(const Order& order) {
  return native_->ask("probe " + order.destination + " " + order.how).starts_with("ok");
}

// A connect() failed. Nothing else is going on now, so ports only become free: where the kernel's
// own path still works, the same call must work too.
void StressDriver::look_into(const Order& order, int error, int port) {
  // A bind(address, 0) that no daemon defers fails with the other of the two.
  const bool no_port = error == EADDRNOTAVAIL || (order.how == "bound" && error == EADDRINUSE);
  EXPECT_TRUE(no_port) << error_name(error) << " " << order.destination << "\n" << history();
  // The kernel's own search has the last word natively.
  if (!is_shimmed(order.worker)) return;
  // The program bound a port by itself where no daemon defers that: the kernel chose it at random,
  // and it may be in use toward this destination.
  if (order.how == "bound" && port != 0) {
    ++counts_.stuck;
    return;
  }
  const bool bound = std::string(shape_.strategy) == "bind" && port != 0;
  if (bound) ++counts_.stuck;
  for (int retry = 0;; ++retry) {
    if (!kernel_can(order)) {
      ++counts_.exhausted;
      return;
    }
    const int id = next_id_++;
    const std::string answer = workers_[order.worker]->ask("connect " + std::to_string(id) + " " +
                                                           order.destination + " " + order.how);
    const std::vector<std::string> words = words_of(answer);
    if (words.at(0) == "ok") {
      ++counts_.recovered;
      connections_[id] = {order.worker,
                          order.destination,
                          static_cast<std::uint16_t>(std::stoi(words.at(1))),
                          true,
                          {}};
      return;
    }
    if (order.how == "bound" && words.at(2) != "0") {
      ++counts_.stuck;
      return;
    }
    const bool stuck_again = bound && words.at(0) == "failed" && words.at(2) != "0";
    if (stuck_again) ++counts_.stuck;
    if (stuck_again && retry < kRetries) continue;
    if (stuck_again) return;
    if (!kernel_can(order)) continue;
    ADD_FAILURE() << "w" << order.worker << " cannot connect to " << order.destination << " ("
                  << order.how << "): " << answer << " where the kernel's own path can\n"
                  << history() << poold_.status().dump(1);
    return;
  }
}

void StressDriver::fork_child() {
  const auto worker = static_cast<std::size_t>(pick(static_cast<int>(workers_.size())));
  const pid_t child = std::stoi(words_of(workers_[worker]->ask("fork")).at(1));
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

void StressDriver::kill_child() {
  if (children_.empty()) return;
  const pid_t child = random_entry(children_, random_)->first;
  note("kill child " + std::to_string(child));
  end_child(child);
}

void StressDriver::end_child(pid_t child) {
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

void StressDriver::drop_closed() {
  std::erase_if(connections_, [](const auto& entry) {
    return !entry.second.owner_alive && entry.second.children.empty();
  });
}

void StressDriver::kill_worker() {
  const auto worker = static_cast<std::size_t>(pick(static_cast<int>(workers_.size())));
  note("kill -9 w" + std::to_string(worker));
  start_worker(worker);  // replaces, and so kills, the old one
  for (auto& [id, connection] : connections_) {
    if (connection.worker == worker) connection.owner_alive = false;
  }
  drop_closed();
  std::erase_if(held_ports_, [&](const auto& entry) { return entry.second.first == worker; });
}

void StressDriver::change_range() {
  range_choice_ = pick(3);
  note("ip_local_port_range ends at " + std::to_string(range().second));
  net_.set_port_range(range().first, range().second);
}

void StressDriver::change_reuse() {
  const std::string value = std::to_string(pick(3));
  note("tcp_tw_reuse " + value);
  net_.set_sysctl("net.ipv4.tcp_tw_reuse", value);
}

void StressDriver::restart_daemon() {
  note("kill -9 poold, and a new one");
  collect_counts();
  poold_.kill();
  if (pick(2) == 0) burst();
  poold_.restart();
}

// A foreign program binds a port of the range without connecting: no lane may use it.
void StressDriver::hold_port() {
  const std::size_t worker = kShimmed + static_cast<std::size_t>(pick(kForeign));
  const auto port = static_cast<std::uint16_t>(kLow + pick(shape_.ports));
  const int id = next_id_++;
  const std::string address = (pick(2) == 0 ? "127.0.0.1:" : "[::1]:") + std::to_string(port);
  const std::string answer = workers_[worker]->ask("bind " + std::to_string(id) + " " + address +
                                                   (pick(2) == 0 ? " listen" : " bound"));
  note("w" + std::to_string(worker) + " binds " + address + ": " + answer);
  if (answer == "ok") held_ports_[id] = {worker, port};
}

void StressDriver::release_port() {
  if (held_ports_.empty()) return;
  const auto held = random_entry(held_ports_, random_);
  note("release of port " + std::to_string(held->second.second));
  workers_[held->second.first]->ask("close " + std::to_string(held->first) + " normal");
  held_ports_.erase(held);
}

std::set<std::uint16_t> StressDriver::blocked_ports() const {
  std::set<std::uint16_t> ports;
  for (const auto& [id, held] : held_ports_) ports.insert(held.second);
  return ports;
}

// Each connection that somebody holds is in the kernel's table, with the port its worker saw.
void StressDriver::check_table() const {
  const std::vector<TableRow> table = read_kernel_table();
  std::set<std::pair<std::string, std::uint16_t>> established;
  for (const TableRow& row : table) {
    if (row.state == TCP_ESTABLISHED) established.emplace(row.remote, row.local_port);
  }
  std::set<std::pair<std::string, std::uint16_t>> held;
  for (const auto& [id, connection] : connections_) {
    const std::pair ports{connection.destination, connection.port};
    EXPECT_TRUE(established.contains(ports))
        << connection.destination << " from port " << connection.port << " is not established\n"
        << history();
    EXPECT_TRUE(held.insert(ports).second)
        << "two connections " << connection.destination << " from port " << connection.port << "\n"
        << history();
  }
}

void StressDriver::rest() {
  note("rest");
  // With a daemon that came a moment ago there would be no lane to compare.
  EXPECT_TRUE(eventually([&] {
    workers_[0]->ask("probe " + kDestinations[0] + " plain");
    return !poold_.status().at("lanes").empty();
  })) << "no lane\n"
      << history();
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const std::string answer = workers_[i]->ask("echo-all");
    EXPECT_TRUE(answer.starts_with("ok")) << "w" << i << ": " << answer << "\n" << history();
  }
  std::string differences;
  std::size_t lanes = 0;
  const bool agree = eventually([&] {
    const std::vector<TableRow> before = read_kernel_table();
    const nlohmann::json status = poold_.status();
    differences = before == read_kernel_table()
                      ? lane_differences(status, before, range(), blocked_ports())
                      : "the kernel's table does not come to rest";
    lanes = status.at("lanes").size();
    return differences.empty();
  });
  counts_.lanes_compared += lanes;
  EXPECT_TRUE(agree) << differences << history() << poold_.status().dump(1) << "\npoold said:\n"
                     << poold_.process().err();
  const std::vector<TableRow> table = read_kernel_table();
  for (const std::string& destination : kDestinations) {
    std::set<std::uint16_t> held;
    for (const auto& [id, connection] : connections_) {
      if (connection.destination == destination) held.insert(connection.port);
    }
    EXPECT_EQ(ports_between(table, source_for(destination), destination).used, held)
        << destination << ": sockets that nobody should have, or that somebody lost\n"
        << history();
  }
  check_table();
}

void StressDriver::collect_counts() {
  const nlohmann::json status = poold_.status();
  counts_.by_pool += pool_connects(status);
  counts_.by_kernel += kernel_connects(status);
  counts_.rejections += status.at("rejections").get<std::uint64_t>();
}

void StressDriver::finish() {
  rest();
  collect_counts();
}

}  // namespace portpool::test
