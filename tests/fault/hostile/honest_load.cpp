#include "fault/hostile/honest_load.h"

#include <cstdlib>
#include <sstream>
#include <thread>
#include <utility>

#include "fault/hostile/scene.h"
#include "support/eventually.h"
#include "support/far_side.h"

namespace portpool::test {

bool by_bind() {
  const char* strategy = std::getenv("PORTPOOL_TEST_STRATEGY");
  return strategy != nullptr && std::string(strategy) == "bind";
}

testing::AssertionResult served_by_pool_alone(const Poold& poold, std::chrono::milliseconds apart) {
  nlohmann::json last = poold.status();
  const bool served = eventually([&] {
    std::this_thread::sleep_for(apart);
    nlohmann::json now = poold.status();
    const bool by_pool_alone =
        pool_connects(now) != pool_connects(last) && kernel_connects(now) == kernel_connects(last);
    last = std::move(now);
    return by_pool_alone;
  });
  if (served) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "not everybody is served by the pool: " << last.at("fallbacks");
}

HonestNet::HonestNet() {
  net.set_port_range(kLow, kHigh);
  // However many connections are closed, TIME_WAIT leaves most ports alone.
  net.set_sysctl("net.ipv4.tcp_max_tw_buckets", "3000");
  for (const char* n : {"1", "3", "4"}) net.add_address("10.7.0." + std::string(n) + "/32");
  net.add_address("fd00:7::1/128");
  // To these, routing chooses another source than the destination itself.
  ip("route add local 10.8.0.0/24 dev lo src 10.7.0.1");
  ip("-6 route add local fd00:8::/64 dev lo src fd00:7::1");
}

void HonestLoad::start(const Poold& poold, std::size_t shimmed, std::size_t natively) {
  shimmed_ = shimmed;
  for (std::size_t i = 0; i < shimmed + natively; ++i) {
    programs_.emplace_back(new Process(
        start_guest("honest", i < shimmed ? poold.shim() : native(), {std::to_string(i)})));
  }
  read_of_.resize(programs_.size());
  for (auto& program : programs_) program->wait_for_output("begins\n");
}

std::uint64_t HonestLoad::ask(const std::string& word) {
  ++asked_;
  std::uint64_t sum = 0;
  const std::string mark = "#" + std::to_string(asked_) + " ";
  for (auto& program : programs_) program->send_line(word + std::to_string(asked_));
  for (std::size_t i = 0; i < programs_.size(); ++i) {
    programs_[i]->wait_for_output(mark);
    // The line is written at once.
    const std::string out = programs_[i]->out();
    sum += std::stoull(out.substr(out.find(mark) + mark.size()));
    std::istringstream lines(out.substr(read_of_[i]));
    read_of_[i] = out.size();
    for (std::string line; std::getline(lines, line);) hear(i, line);
  }
  return sum;
}

void HonestLoad::hear(std::size_t index, const std::string& line) {
  if (!line.starts_with("WRONG")) return;
  ADD_FAILURE() << (index < shimmed_ ? "" : "without the library: ") << line;
  const bool call = line.starts_with("WRONG failed") || line.starts_with("WRONG nobody");
  ++(call ? errors_ : wrong_);
}

void HonestLoad::go_on() {
  for (auto& program : programs_) program->send_line("go on");
}

void HonestLoad::stop() {
  for (auto& program : programs_) program->send_line("stop");
  for (auto& program : programs_) EXPECT_EQ(program->wait(), 0) << program->err();
}

}  // namespace portpool::test
