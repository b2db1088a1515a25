// What most of these tests start from: a private network, a tiny port range, servers and a daemon.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "support/echo_server.h"
#include "support/poold_fixture.h"
#include "support/private_net.h"
#include "system/lanes/client.h"
#include "system/lanes/kernel_table.h"

namespace portpool::test {

// In the middle of a word of the port maps, which has 64 ports from a multiple of 64 on: ports
// outside a range share words with it.
inline constexpr int kLow = 20010;
inline const std::string kHost = "127.0.0.1";
inline const std::string kEcho = "127.0.0.1:9001";
inline const std::string kOtherEcho = "127.0.0.1:9002";
inline const std::string kCloser = "127.0.0.1:9101";  // closes each connection at once
inline const std::string kSilent = "127.0.0.1:9102";  // never accepts and never closes
inline const std::string kNobody = "127.0.0.1:9103";

// Many times what the daemon takes to notice anything.
inline constexpr std::chrono::seconds kSoon{20};

// The lane from `source` to `destination` in a status, or null.
nlohmann::json lane_from(const nlohmann::json& status, const std::string& source,
                         const std::string& destination);
int number(const nlohmann::json& object, const std::string& key);
int counter(const nlohmann::json& status, const std::string& name);

class LaneNet : public testing::Test {
 protected:
  // A range of `ports` ports and a daemon; `config` is added to the strategy's line.
  void start(int ports, const std::string& config = "");

  void set_ports(int count) { net.set_port_range(kLow, kLow + count - 1); }
  virtual std::string strategy() const { return "port-range"; }

  nlohmann::json lane(const std::string& destination, const std::string& source = kHost) const;
  // Waits until the lane is there and satisfies `condition`.
  template <class Condition>
  bool eventually_lane(const std::string& destination, Condition condition) const {
    return eventually([&] {
      const nlohmann::json now = lane(destination);
      return !now.is_null() && condition(now);
    });
  }
  // Waits until lane and kernel say the same, by numbers: in use, waiting, all the rest free. None
  // blocked: with the bind strategy poold may have seen a port between its bind() and connect().
  // False after kSoon.
  bool lane_comes_true(const std::string& destination, const std::string& source = kHost) const;
  // Connects until the daemon has made the lane and clients find it, closing with resets. Failures
  // of the connects do not matter.
  void make_lane(const std::string& destination) const;

  PrivateNet net;
  EchoServer server{{9001, 9002}};
  EchoServer closer{{9101}, Answer::close_first};
  EchoServer silent{{9102}, Answer::silent};
  std::unique_ptr<Poold> poold;
};

// The same with each strategy.
class EachStrategy : public LaneNet, public testing::WithParamInterface<const char*> {
 protected:
  std::string strategy() const override { return GetParam(); }
};

inline std::string strategy_name(const testing::TestParamInfo<const char*>& parameter) {
  return std::string(parameter.param) == "bind" ? "Bind" : "PortRange";
}

#define PORTPOOL_EACH_STRATEGY(suite) \
  INSTANTIATE_TEST_SUITE_P(Strategy, suite, testing::Values("port-range", "bind"), strategy_name)

}  // namespace portpool::test
