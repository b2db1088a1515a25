// The driver of the stress test: chooses steps at random, has workers carry them out, and compares
// what should be with the kernel's own table after each.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "stress/worker.h"
#include "support/echo_server.h"
#include "support/poold_fixture.h"
#include "support/private_net.h"

namespace portpool::test {

struct StressShape {
  const char* strategy;  // as in poold's configuration: "port-range" or "bind"
  int ports;             // in ip_local_port_range; at times half of it, or half as much again
};

struct StressCounts {
  std::uint64_t steps = 0;
  std::uint64_t connects = 0;
  std::uint64_t exhausted = 0;  // failed with EADDRNOTAVAIL, natively too
  std::uint64_t recovered = 0;  // failed so, and did not when tried again
  // Failed so after an explicit bind() of a port that turned out to be taken toward that
  // destination: a bound socket cannot be moved to another port (bind strategy only).
  std::uint64_t stuck = 0;
  std::uint64_t lanes_compared = 0;
  std::uint64_t by_pool = 0;
  std::uint64_t by_kernel = 0;
  std::uint64_t rejections = 0;
};

// The same seed gives the same choices step by step, as far as the outcomes agree.
class StressDriver {
 public:
  StressDriver(const StressShape& shape, std::uint64_t seed);
  ~StressDriver();
  StressDriver(const StressDriver&) = delete;
  StressDriver& operator=(const StressDriver&) = delete;

  // The next step, and the comparison after it. Failures are GoogleTest's.
  void step();
  // No step for as long as poold needs to agree with the kernel; then they must agree exactly.
  void rest();
  // The last rest(), and what poold counted.
  void finish();

  const StressCounts& counts() const { return counts_; }
  // The last steps, for the message of a failure.
  std::string history() const;

 private:
  struct Connection {
    std::size_t worker = 0;
    std::string destination;
    std::uint16_t port = 0;
    bool owner_alive = true;   // its worker still has it
    std::set<pid_t> children;  // who hold it besides
  };
  struct Order {
    std::size_t worker;
    int id;
    std::string destination;  // empty: close
    std::string how;
  };

  // Steps.
  void burst();
  void flood();
  void close_many();
  void fork_child();
  void kill_child();
  void kill_worker();
  void change_range();
  void change_reuse();
  void restart_daemon();
  void hold_port();
  void release_port();

  Order connect_order(std::size_t worker);
  std::optional<Order> close_order(std::size_t worker);
  void carry_out(const std::vector<Order>& orders);
  void note_connect(const Order& order, const std::string& answer);
  void note_close(const Order& order);
  void look_into(const Order& order, int error, int port);
  bool kernel_can(const Order& order);
  void end_child(pid_t child);
  // Forgets the connections that no process has any more.
  void drop_closed();
  void start_worker(std::size_t index);
  bool is_shimmed(std::size_t worker) const;
  void collect_counts();

  void check_table() const;
  std::set<std::uint16_t> blocked_ports() const;
  std::pair<int, int> range() const;
  int pick(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }
  void note(const std::string& text);

  StressShape shape_;
  std::uint64_t seed_;
  std::mt19937_64 random_;
  PrivateNet net_;
  EchoServer server_{{9001, 9002}};
  Descriptor lifeline_;       // the workers' children live as long as the other end
  Descriptor lifeline_held_;  // that one
  Poold poold_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Worker> native_;  // tries what a shimmed connect() could not do
  std::map<int, Connection> connections_;
  std::map<int, std::pair<std::size_t, std::uint16_t>> held_ports_;  // id: foreign worker, port
  std::map<pid_t, std::size_t> children_;                            // of which worker
  int next_id_ = 1;
  int range_choice_ = 0;
  StressCounts counts_;
  std::deque<std::string> history_;
};

}  // namespace portpool::test
