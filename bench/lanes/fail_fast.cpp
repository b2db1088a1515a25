#include <algorithm>
#include <utility>

#include "figures.h"
#include "server.h"
#include "stage.h"

namespace portpool::bench {
namespace {

constexpr std::size_t kHammering = 4;
// Each of them tries again this soon: an application without back-off.
constexpr std::uint32_t kPauseUs = 1000;

struct Series {
  std::vector<double> cpu_share;  // of one core, per cent, all hammering workers together
  std::vector<double> attempts;   // a second
  std::vector<std::uint64_t> late_ns;
};

void run_block(Series& series, const Workers& hammering, Worker& bystander, std::uint32_t ms) {
  bystander.start({Job::tick, 0, ms});
  const Outcome block = run_all(hammering, {Job::retry_failed, 0, ms, kPauseUs});
  bystander.finish(&series.late_ns);
  const auto wall = static_cast<double>(block.wall_us);
  series.cpu_share.push_back(static_cast<double>(block.cpu_us) / wall * 100);
  series.attempts.push_back(static_cast<double>(block.done + block.errors) * 1e6 / wall);
}

}  // namespace

nlohmann::json measure_fail_fast(const LaneOptions& options) {
  Stage stage(options, "[[pool]]\nname = \"all\"\non_exhaustion = \"fail-fast\"\n");
  stage.make_lane();
  const Occupied held(stage.listener(), stage.range().low, stage.range().count());
  stage.wait_for_free(0);
  const Workers kernel = stage.workers(kHammering, false);
  const Workers pool = stage.workers(kHammering, true);
  const Workers bystander = stage.workers(1, false);
  const std::uint32_t ms = options.quick ? 1000 : 2000;
  Series by_kernel;
  Series by_pool;
  for (int round = 0; round < (options.quick ? 2 : 8); ++round) {
    const bool kernel_first = round % 2 == 0;
    for (const bool is_kernel : {kernel_first, !kernel_first}) {
      run_block(is_kernel ? by_kernel : by_pool, is_kernel ? kernel : pool, *bystander[0], ms);
    }
  }
  nlohmann::json figures = nlohmann::json::array();
  for (const auto& [name, series] : {std::pair{std::string("kernel: "), &by_kernel},
                                     std::pair{std::string("fail-fast: "), &by_pool}}) {
    const auto late = scaled(series->late_ns, 1000);
    add_figure(figures, name + "CPU of four retrying workers", median(series->cpu_share), "% core");
    add_figure(figures, name + "attempts", median(series->attempts), "1/s");
    add_figure(figures, name + "CPU an attempt",
               median(series->cpu_share) * 1e4 / std::max(median(series->attempts), 1.0), "us");
    add_figure(figures, name + "bystander wakes late, median", quantile(late, 0.5), "us");
    add_figure(figures, name + "bystander wakes late, p99", quantile(late, 0.99), "us");
  }
  add_figure(
      figures, "CPU an attempt, kernel / fail-fast",
      median(by_kernel.cpu_share) / std::max(median(by_kernel.attempts), 1.0) /
          (std::max(median(by_pool.cpu_share), 0.01) / std::max(median(by_pool.attempts), 1.0)),
      "");
  return figures;
}

}  // namespace portpool::bench
