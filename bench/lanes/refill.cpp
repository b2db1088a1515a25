#include "figures.h"
#include "server.h"
#include "stage.h"

namespace portpool::bench {

nlohmann::json measure_refill(const LaneOptions& options) {
  constexpr std::uint32_t kHeld = 8;
  // With fail-fast a connect() that finds nothing leaves the kernel alone, most of the time: asking
  // again and again does not take the port away from the pool.
  Stage stage(options, "[[pool]]\nname = \"all\"\non_exhaustion = \"fail-fast\"\n");
  stage.make_lane();
  const Occupied held(stage.listener(), stage.range().low, stage.range().count() - kHeld);
  stage.wait_for_free(kHeld);
  const Server server(stage.listener(), Serving::greet);
  const Workers workers = stage.workers(1, true);
  workers[0]->run({Job::hold, kHeld});
  std::vector<std::uint64_t> samples;
  const Outcome outcome = workers[0]->run({Job::refill, options.quick ? 100U : 1000U}, &samples);
  nlohmann::json figures = nlohmann::json::array();
  add_goal(figures, "close to claimable, median", quantile(scaled(samples, 1e6), 0.5), "ms", 2,
           false);
  add_figure(figures, "close to claimable, p90", quantile(scaled(samples, 1e6), 0.9), "ms");
  add_figure(figures, "close to claimable, p99", quantile(scaled(samples, 1e6), 0.99), "ms");
  add_figure(figures, "close to claimable, longest", quantile(scaled(samples, 1e6), 1), "ms");
  add_figure(figures, "samples", static_cast<double>(samples.size()), "");
  add_figure(figures, "found first by the kernel's path", static_cast<double>(outcome.by_kernel),
             "");
  return figures;
}

}  // namespace portpool::bench
