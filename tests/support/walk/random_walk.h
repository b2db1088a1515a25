// A random walk: chooses steps at random, has workers carry them out, and compares what should be
// with the kernel's own table after each.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/poold_fixture.h"
#include "support/private_net.h"
#include "support/walk/worker.h"

namespace portpool::test {

struct WalkShape {
  const char* strategy;  // as in poold's configuration: "port-range" or "bind"
  int ports;             // in ip_local_port_range; at times half of it, or half as much again
  std::string poold = poold_path();
  std::string shim = shim_path();
};

struct WalkCounts {
  std::uint64_t steps = 0;
  std::uint64_t connects = 0;
  std::uint64_t exhausted = 0;  // failed with EADDRNOTAVAIL, natively too
  std::uint64_t recovered = 0;  // failed so, and did not when tried again
  // Failed so after a bind() of the program's own that no daemon put off: natively it may, too.
  std::uint64_t own_binds = 0;
  // Failed so where the kernel's path then did not, after an explicit bind() of a port that turned
  // out to be taken toward that destination: a bound socket cannot be moved to another port (bind
  // strategy only).
  std::uint64_t stuck = 0;
  // Errors that the kernel's path did not give in their place. Each is a failure of the test, too.
  std::uint64_t wrong_errors = 0;
  // Bytes of another, one 4-tuple twice, sockets lost or left behind. Failures, too.
  std::uint64_t wrong_connections = 0;
  std::uint64_t ports_lost =
      0;  // neither free in a lane at the end nor in the kernel's table. Too.
  std::uint64_t lanes_compared = 0;
  // From the last call to the moment at which all lanes were found equal to the kernel's table.
  std::chrono::milliseconds worst_recovery{0};
  std::uint64_t by_pool = 0;
  std::uint64_t by_kernel = 0;
  std::uint64_t rejections = 0;
};

// The same seed gives the same choices step by step, as far as the outcomes agree.
class RandomWalk {
 public:
  RandomWalk(const WalkShape& shape, std::uint64_t seed);
  virtual ~RandomWalk();
  RandomWalk(const RandomWalk&) = delete;
  RandomWalk& operator=(const RandomWalk&) = delete;

  // The next step, and the comparison after it. Failures are GoogleTest's.
  void step();
  // No step for as long as poold needs to agree with the kernel; then they must agree exactly.
  void rest();
  // The last rest(), and what poold counted.
  void finish();

  const WalkCounts& counts() const { return counts_; }
  // The last steps, for the message of a failure.
  std::string history() const;

 protected:
  struct Connection {
    std::size_t worker = 0;
    std::string destination;
    std::string source;
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

  // What step() is made of.
  void begin_step();
  void random_step();
  void check_table();
  void check_held();

  // Before an answer of that worker is awaited.
  virtual void before_answer(std::size_t /*worker*/) {}
  // A worker has ended by itself; it is replaced when this returns.
  virtual void worker_ended(std::size_t worker, const std::runtime_error& error);

  // Steps.
  void burst();
  void flood();
  void close_many();
  void fork_child();
  void kill_child();
  void kill_worker();
  void change_range();
  void change_reuse();
  virtual void restart_daemon();
  void hold_port();
  void release_port();

  Order connect_order(std::size_t worker);
  std::optional<Order> close_order(std::size_t worker);
  void carry_out(const std::vector<Order>& orders);
  void send(std::size_t worker, const std::string& command);
  // kEnded where the worker has ended instead.
  std::string answer_of(std::size_t worker);
  std::string ask(std::size_t worker, const std::string& command);
  void note_connected(const Order& order, const std::vector<std::string>& answer);
  void note_close(const Order& order);
  void look_into(const Order& order, int error, int port, bool nothing_freed);
  bool kernel_can(const Order& order);
  void end_child(pid_t child);
  // Forgets the connections that no process has any more.
  void drop_closed();
  void start_worker(std::size_t index);
  // It is gone, and another one in its place.
  void replace_worker(std::size_t index);
  void replace_ended();
  bool is_shimmed(std::size_t worker) const;
  void collect_counts();

  std::set<std::uint16_t> blocked_ports() const;
  std::pair<int, int> range() const;
  int pick(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }
  void note(const std::string& text);

  WalkShape shape_;
  std::uint64_t seed_;
  std::mt19937_64 random_;
  PrivateNet net_;
  EchoServer server_{{9001, 9002}};
  Descriptor lifeline_;       // the workers' children live as long as the other end
  Descriptor lifeline_held_;  // that one
  Poold poold_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::set<std::size_t> ended_;
  std::set<std::string> waiting_;   // destinations with a TIME_WAIT when the table was last read
  std::unique_ptr<Worker> native_;  // tries what a shimmed connect() could not do
  std::map<int, Connection> connections_;
  std::map<int, std::pair<std::size_t, std::uint16_t>> held_ports_;  // id: foreign worker, port
  std::map<pid_t, std::size_t> children_;                            // of which worker
  int next_id_ = 1;
  int range_choice_ = 0;
  WalkCounts counts_;
  std::deque<std::string> history_;
};

}  // namespace portpool::test
