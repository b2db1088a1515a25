#include <algorithm>
#include <array>
#include <random>
#include <string>

#include "figures.h"
#include "server.h"
#include "stage.h"

namespace portpool::bench {
namespace {

constexpr std::size_t kFree = 12;
constexpr std::size_t kWorkers = 2;
constexpr std::uint32_t kBlockMs = 400;

struct Totals {
  Outcome pool;
  Outcome kernel;
};

void add(Outcome& sum, const Outcome& more) {
  sum.done += more.done;
  sum.by_pool += more.by_pool;
  sum.errors += more.errors;
}

double per_second(const Outcome& block) {
  return static_cast<double>(block.done) * 1e6 / static_cast<double>(block.wall_us);
}

// Blocks of both paths in turn, the first of each pair chosen at random.
void compare(nlohmann::json& figures, const std::string& name, const Workers& pool,
             const Workers& kernel, Job job, int rounds) {
  std::minstd_rand random(1);
  std::vector<double> ratios;
  std::vector<double> by_pool;
  std::vector<double> by_kernel;
  Totals totals;
  run_all(pool, {job, 0, kBlockMs});  // not counted
  for (int round = 0; round < rounds; ++round) {
    std::array<bool, 2> order{true, false};
    if (random() % 2 == 0) std::swap(order[0], order[1]);
    double rates[2] = {};
    for (const bool is_pool : order) {
      const Outcome block = run_all(is_pool ? pool : kernel, {job, 0, kBlockMs});
      add(is_pool ? totals.pool : totals.kernel, block);
      rates[is_pool ? 0 : 1] = per_second(block);
    }
    by_pool.push_back(rates[0]);
    by_kernel.push_back(rates[1]);
    if (rates[1] > 0) ratios.push_back(rates[0] / rates[1]);
  }
  add_figure(figures, name + ": pool", median(by_pool), "1/s");
  add_figure(figures, name + ": kernel", median(by_kernel), "1/s");
  add_goal(figures, name + ": pool / kernel", median(ratios), "", 20, true);
  const double made = static_cast<double>(std::max<std::uint64_t>(totals.pool.done, 1));
  add_figure(figures, name + ": pool, made on the pool's path",
             100 * static_cast<double>(totals.pool.by_pool) / made, "%");
  add_figure(figures, name + ": pool, errors", static_cast<double>(totals.pool.errors), "");
  add_figure(figures, name + ": kernel, errors", static_cast<double>(totals.kernel.errors), "");
}

}  // namespace

nlohmann::json measure_last_ports(const LaneOptions& options) {
  Stage stage(options);
  stage.make_lane();
  const Occupied held(stage.listener(), stage.range().low, stage.range().count() - kFree);
  const Workers pool = stage.workers(kWorkers, true);
  const Workers kernel = stage.workers(kWorkers, false);
  const int rounds = options.quick ? 4 : 20;
  nlohmann::json figures = nlohmann::json::array();
  for (const bool peer_closes : {true, false}) {
    const Server server(stage.listener(), peer_closes ? Serving::close_first : Serving::wait);
    stage.wait_for_free(kFree);
    compare(figures, peer_closes ? "peer closes first" : "closed with a reset", pool, kernel,
            peer_closes ? Job::peer_closes : Job::resets, rounds);
  }
  return figures;
}

}  // namespace portpool::bench
