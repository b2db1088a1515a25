#include "stage.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <thread>

namespace portpool::bench {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

template <class Condition>
void wait_until(Condition condition, const char* what) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error(what);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

Stage::Stage(const LaneOptions& options, const std::string& config)
    : options_(options), daemon_(options.poold, config) {}

void Stage::make_lane() {
  Worker worker(options_.library, daemon_.socket());
  wait_until(
      [&] {
        worker.run({Job::touch});
        drain(listener_.get());
        return !daemon_.status().at("lanes").empty();
      },
      "the daemon makes no lane");
}

Workers Stage::workers(std::size_t count, bool shimmed) const {
  Workers all;
  while (all.size() < count) {
    all.push_back(shimmed ? std::make_unique<Worker>(options_.library, daemon_.socket())
                          : std::make_unique<Worker>());
  }
  return all;
}

void Stage::wait_for_free(std::size_t free) const {
  wait_until([&] { return daemon_.status().at("lanes").at(0).at("free") == free; },
             "the lane does not agree with the kernel");
}

Outcome run_all(const Workers& workers, const Order& order) {
  for (const auto& worker : workers) worker->start(order);
  Outcome sum;
  for (const auto& worker : workers) {
    const Outcome one = worker->finish();
    sum.done += one.done;
    sum.by_pool += one.by_pool;
    sum.errors += one.errors;
    sum.cpu_us += one.cpu_us;
    sum.wall_us = std::max(sum.wall_us, one.wall_us);
    if (one.last_errno != 0) sum.last_errno = one.last_errno;
  }
  return sum;
}

}  // namespace portpool::bench
