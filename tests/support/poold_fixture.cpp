#include "support/poold_fixture.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "support/sockets.h"

namespace portpool::test {

GUEST(support_touch) {
  // A lane is made for what is asked for twice.
  for (int call = 0; call < 2; ++call) {
    for (const std::string& destination : arguments) {
      const int fd = connected_socket(SocketAddress(destination));
      CHECK_THAT(fd >= 0);
      close_with_reset(fd);
    }
  }
}

Poold::Poold(const std::string& config, const std::string& program,
             std::vector<std::string> environment)
    : socket_(directory_.file("poold.sock")), environment_(std::move(environment)) {
  command_ = {program, "serve", "--socket", socket_};
  std::string text = config;
  const char* strategy = std::getenv("PORTPOOL_TEST_STRATEGY");
  if (strategy != nullptr && text.find("strategy = ") == std::string::npos) {
    text.insert(0, "strategy = \"" + std::string(strategy) + "\"\n");
  }
  if (!text.empty()) {
    command_.insert(command_.end(), {"--config", directory_.write("poold.toml", text)});
  }
  start();
}

Poold::~Poold() {
  if (!process_->running()) return;
  try {
    EXPECT_EQ(stop(), 0) << process_->err();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
}

void Poold::start() {
  process_ = std::make_unique<Process>(command_, environment_);
  const bool answering = eventually([&] {
    if (!process_->running()) throw std::runtime_error("poold ended: " + process_->err());
    return answers();
  });
  if (!answering) throw std::runtime_error("poold does not answer: " + process_->err());
}

bool Poold::answers() const {
  Process probe({command_[0], "status", "--json"}, {"PORTPOOL_SOCKET=" + socket_});
  return probe.wait() == 0;
}

nlohmann::json Poold::status() const {
  Process command({command_[0], "status", "--json"}, {"PORTPOOL_SOCKET=" + socket_});
  // 1 is a warning: the daemon has not been seen alive of late.
  if (const int status = command.wait(); status > 1) {
    throw std::runtime_error("poold status: exit " + std::to_string(status) + ": " + command.err());
  }
  return nlohmann::json::parse(command.out());
}

void Poold::make_lanes(const std::vector<std::string>& destinations) const {
  // One question may take another's slot, and has to be asked again.
  std::vector<std::string> missing = destinations;
  const bool made = eventually([&] {
    const GuestResult touched = run_guest("support_touch", shim(), missing);
    if (touched.status != 0) throw std::runtime_error("cannot touch: " + touched.err);
    return eventually(
        [&] {
          const nlohmann::json now = status();
          std::erase_if(missing, [&](const std::string& d) { return !lane_of(now, d).is_null(); });
          return missing.empty();
        },
        std::chrono::seconds(3));
  });
  if (!made) throw std::runtime_error("poold made no lane: " + status().dump());
}

int Poold::stop() {
  process_->signal(SIGCONT);  // in case a test has stopped it
  process_->signal(SIGTERM);
  return process_->wait();
}

void Poold::kill() {
  process_->signal(SIGKILL);
  process_->wait();
}

void Poold::restart() {
  if (process_->running()) stop();
  start();
}

void Poold::reload(const std::string& config) {
  directory_.write("poold.toml", config);
  process_->signal(SIGHUP);
}

std::unique_ptr<Process> Poold::start_successor() const {
  std::vector<std::string> command = command_;
  command.emplace_back("--take-over");
  return std::make_unique<Process>(command, environment_);
}

void Poold::take_over() {
  auto successor = start_successor();
  const bool taken = eventually([&] {
    if (!successor->running()) throw std::runtime_error("successor: " + successor->err());
    return !process_->running();
  });
  if (!taken) throw std::runtime_error("nobody took over: " + successor->err());
  EXPECT_EQ(process_->wait(), 0) << process_->err();
  process_ = std::move(successor);
}

nlohmann::json lane_of(const nlohmann::json& status, const std::string& destination) {
  for (const nlohmann::json& lane : status.at("lanes")) {
    if (lane.at("destination") == destination) return lane;
  }
  return nullptr;
}

std::uint64_t fallbacks(const nlohmann::json& status, const std::string& reason) {
  return status.at("fallbacks").value(reason, std::uint64_t{0});
}

}  // namespace portpool::test
