// Honest programs (honest.cpp) at work, while something is done to them.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/echo_server.h"
#include "support/poold_fixture.h"
#include "support/private_net.h"

namespace portpool::test {

// Whether this test runs with the bind strategy.
bool by_bind();

// Waits until between two looks, `apart` of each other, there are connects by the pool and none by
// the kernel.
testing::AssertionResult served_by_pool_alone(const Poold& poold, std::chrono::milliseconds apart);

// Addresses, routes and servers of scene.h, in a network of its own.
struct HonestNet {
  HonestNet();

  PrivateNet net;
  EchoServer server{{9001, 9002, 9003, 9004}, Answer::testify};
};

class HonestLoad {
 public:
  // The first `shimmed` are under the library, from the beginning; the others are not.
  void start(const Poold& poold, std::size_t shimmed, std::size_t natively);

  // How many connections there were, of all. Who does not answer is a failure of the test, and so
  // is whatever somebody has to complain of.
  std::uint64_t ask() { return ask("count "); }
  // The same, and none of them makes another step before it is told to go on. What they hold they
  // hold.
  std::uint64_t pause() { return ask("pause "); }
  void go_on();
  // They end, and well.
  void stop();

  pid_t pid(std::size_t index) const { return programs_[index]->pid(); }
  // Of what was complained: a call that failed, or failed otherwise than it should; and a
  // connection that is not the one which its program believes to have.
  std::uint64_t errors() const { return errors_; }
  std::uint64_t wrong() const { return wrong_; }

 private:
  std::uint64_t ask(const std::string& word);
  void hear(std::size_t index, const std::string& line);

  std::vector<std::unique_ptr<Process>> programs_;
  std::vector<std::size_t> read_of_;  // of what each has said, how much was looked at
  std::size_t shimmed_ = 0;
  int asked_ = 0;
  std::uint64_t errors_ = 0;
  std::uint64_t wrong_ = 0;
};

}  // namespace portpool::test
