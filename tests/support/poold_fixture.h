// A running `poold serve`, and what `poold status --json` says about it.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/guest.h"
#include "support/process.h"
#include "support/temp_dir.h"

namespace portpool::test {

// Starts poold in the test's network namespace on a socket in a temporary directory, and returns
// when it answers. Throws std::runtime_error (with poold's own words) when it does not.
class Poold {
 public:
  // `config`: the text of a configuration file; none is given to poold when it is empty. Where it
  // names no strategy, the environment's PORTPOOL_TEST_STRATEGY does. `program`: another poold.
  // `environment`: added to poold's own.
  explicit Poold(const std::string& config = "", const std::string& program = poold_path(),
                 std::vector<std::string> environment = {});
  // Ends it by SIGTERM when that has not happened yet; a bad end is a test failure.
  ~Poold();
  Poold(const Poold&) = delete;
  Poold& operator=(const Poold&) = delete;

  const std::string& socket() const { return socket_; }
  std::string config_path() const { return directory_.file("poold.toml"); }
  Process& process() { return *process_; }
  // Surroundings for run_guest(): the guest begins when it is attached. Where the daemon may not
  // answer, take shim_at(socket()).
  Under shim(std::vector<std::string> more = {}) const {
    more.push_back(kBeginAttached);
    return shim_at(socket_, more);
  }

  // Whether `poold status` succeeds: not where the daemon is dead, stopped or just starting.
  bool answers() const;
  // `poold status --json`; throws when that fails or is not JSON.
  nlohmann::json status() const;
  // Waits until what `poold status --json` says satisfies `condition`; false after a minute.
  template <class Condition>
  bool eventually_status(Condition condition) const {
    return eventually([&] { return condition(status()); });
  }

  // Makes poold keep a lane for each of `destinations`, by two connections under the shim that
  // end with a reset (no TIME_WAIT), and waits until status shows it.
  void make_lanes(const std::vector<std::string>& destinations) const;

  // SIGTERM, and the exit status.
  int stop();
  // SIGKILL: no clean-up of its own.
  void kill();
  // A new daemon on the same socket. Ends the old one when it still runs.
  void restart();
  // Another configuration, of which it is told by SIGHUP.
  void reload(const std::string& config);
  // A new one takes over from the one that runs, which ends well. Throws when that does not happen.
  void take_over();
  std::vector<std::string> command() const { return command_; }
  // Starts another one, which is to take over, and awaits nothing. Then, when the one that runs
  // has ended, goes on with that.
  std::unique_ptr<Process> start_successor() const;
  void go_on_with(std::unique_ptr<Process> successor) { process_ = std::move(successor); }

 private:
  void start();

  TempDir directory_;
  std::string socket_;
  std::vector<std::string> command_;
  std::vector<std::string> environment_;
  std::unique_ptr<Process> process_;
};

// The lane toward `destination` in a status, or null.
nlohmann::json lane_of(const nlohmann::json& status, const std::string& destination);

// A count under status["fallbacks"]; 0 when the reason is not listed.
std::uint64_t fallbacks(const nlohmann::json& status, const std::string& reason);

inline std::uint64_t pool_connects(const nlohmann::json& status) {
  return status.at("connects").at("pool").get<std::uint64_t>();
}
inline std::uint64_t kernel_connects(const nlohmann::json& status) {
  return status.at("connects").at("kernel").get<std::uint64_t>();
}

}  // namespace portpool::test
