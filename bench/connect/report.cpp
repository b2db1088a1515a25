#include "report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace portpool::bench {
namespace {

// The kernel tries all ports of one parity before the other: from half of the range on it has to
// walk through the first half on every call.
constexpr double kCliffPercent = 50;

template <class T>
double quantile(std::vector<T> values, double q) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::ptrdiff_t>(std::min(
      std::floor(q * static_cast<double>(values.size())), static_cast<double>(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return static_cast<double>(values[static_cast<std::size_t>(rank)]);
}

std::vector<double> measured(std::vector<double> medians) {
  std::erase(medians, 0.0);
  return medians;
}

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char line[256];
  std::snprintf(line, sizeof line, pattern, args...);
  return line;
}

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

// Of the rounds in which both have samples.
double median_ratio(const std::vector<double>& ours, const std::vector<double>& theirs) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
    if (ours[i] > 0 && theirs[i] > 0) ratios.push_back(ours[i] / theirs[i]);
  }
  return quantile(std::move(ratios), 0.5);
}

// Collects the worst value of one ratio over several occupancies.
class Worst {
 public:
  Worst(std::string text, double goal, bool at_least)
      : promise_{std::move(text), 0, goal, at_least} {}

  void see(double value, double percent) {
    const bool worse = promise_.at_least ? value < promise_.value : value > promise_.value;
    if (seen_ && !worse) return;
    promise_.value = value;
    where_ = percent;
    seen_ = true;
  }
  void add_to(std::vector<Promise>& out) const {
    if (!seen_) return;
    out.push_back(promise_);
    out.back().text += format(" (worst: at %g %%)", where_);
  }

 private:
  Promise promise_;
  double where_ = 0;
  bool seen_ = false;
};

}  // namespace

void Series::add(const BlockResult& block) {
  errors_ += block.errors;
  if (block.last_errno != 0) last_errno_ = block.last_errno;
  std::vector<std::uint32_t> connects;
  std::vector<std::uint32_t> cycles;
  for (const Sample& sample : block.samples) {
    connects.push_back(sample.connect_ns);
    cycles.push_back(sample.cycle_ns);
  }
  connect_ns_.insert(connect_ns_.end(), connects.begin(), connects.end());
  block_medians_ns_.push_back(quantile(std::move(connects), 0.5));
  cycle_medians_ns_.push_back(quantile(std::move(cycles), 0.5));
}

double Series::p50_us() const { return quantile(measured(block_medians_ns_), 0.5) / 1000; }
double Series::p99_us() const { return quantile(connect_ns_, 0.99) / 1000; }
double Series::cycle_p50_us() const { return quantile(measured(cycle_medians_ns_), 0.5) / 1000; }

double Series::p50_ratio_to(const Series& other) const {
  return median_ratio(block_medians_ns_, other.block_medians_ns_);
}
double Series::cycle_ratio_to(const Series& other) const {
  return median_ratio(cycle_medians_ns_, other.cycle_medians_ns_);
}

const Series* OccupancyFigures::find(const std::string& arm) const {
  for (const ArmFigures& figures : arms) {
    if (figures.arm == arm && figures.series.samples() > 0) return &figures.series;
  }
  return nullptr;
}

std::vector<Promise> promises(const std::vector<OccupancyFigures>& run) {
  Worst to_pinned("shim p50 / pinned p50, at every occupancy", 1.05, false);
  Worst to_kernel("shim p50 / kernel p50, below half of the range", 1.08, false);
  Worst cliff("kernel p50 / shim p50, past half of the range", 100, true);
  Worst tail("shim p99 past half of the range / shim p99 on an empty range", 3, false);
  Worst no_daemon("shim-no-daemon p50 / kernel p50, below half of the range", 1.05, false);
  const Series* empty = nullptr;
  for (const OccupancyFigures& at : run) {
    const Series* kernel = at.find(kKernelArm);
    const Series* pinned = at.find(kPinnedArm);
    const Series* shim = at.find(kShimArm);
    const Series* without = at.find(kNoDaemonArm);
    const bool past_cliff = at.percent >= kCliffPercent;
    if (at.held == 0) empty = shim;
    if (shim && pinned) to_pinned.see(shim->p50_ratio_to(*pinned), at.percent);
    if (past_cliff) {
      if (kernel && shim) cliff.see(kernel->p50_ratio_to(*shim), at.percent);
      if (shim && empty) tail.see(ratio(shim->p99_us(), empty->p99_us()), at.percent);
    } else {
      if (kernel && shim) to_kernel.see(shim->p50_ratio_to(*kernel), at.percent);
      if (kernel && without) no_daemon.see(without->p50_ratio_to(*kernel), at.percent);
    }
  }
  std::vector<Promise> found;
  for (const Worst& worst : {to_pinned, to_kernel, cliff, tail, no_daemon}) worst.add_to(found);
  return found;
}

void print(std::ostream& out, const OccupancyFigures& figures) {
  out << format("\n%g %% in use (%zu of %zu ports held)\n", figures.percent, figures.held,
                figures.range)
      << format("  %-15s %12s %12s %15s %10s %8s\n", "arm", "p50 us", "p99 us", "cycle p50 us",
                "samples", "errors");
  for (const ArmFigures& arm : figures.arms) {
    const Series& series = arm.series;
    out << format("  %-15s %12.2f %12.2f %15.2f %10zu %8llu", arm.arm.c_str(), series.p50_us(),
                  series.p99_us(), series.cycle_p50_us(), series.samples(),
                  static_cast<unsigned long long>(series.errors()));
    if (series.errors() > 0) out << "  " << std::strerror(series.last_errno());
    out << '\n';
  }
  const Series* shim = figures.find(kShimArm);
  for (const ArmFigures& arm : figures.arms) {
    if (shim == nullptr || !arm.arm.starts_with(kAgainstArm)) continue;
    out << format("  shim / %s: connect %.3f, cycle %.3f\n", arm.arm.c_str(),
                  shim->p50_ratio_to(arm.series), shim->cycle_ratio_to(arm.series));
  }
  const DaemonFigures& daemon = figures.daemon;
  if (daemon.on_pool + daemon.on_kernel > 0) {
    out << format("  shim: %llu connects on the pool's path, %llu on the kernel's, %llu rejections",
                  static_cast<unsigned long long>(daemon.on_pool),
                  static_cast<unsigned long long>(daemon.on_kernel),
                  static_cast<unsigned long long>(daemon.rejections));
    if (!daemon.fallbacks.empty()) out << "; fallbacks " << daemon.fallbacks.dump();
    out << '\n';
  }
  out << std::flush;
}

void print(std::ostream& out, const std::vector<Promise>& promises) {
  if (promises.empty()) return;
  out << "\npromises\n";
  for (const Promise& promise : promises) {
    out << format("  %-6s %10.3f  (%s %g)  %s\n", promise.kept() ? "kept" : "MISSED", promise.value,
                  promise.at_least ? ">=" : "<=", promise.goal, promise.text.c_str());
  }
}

nlohmann::json to_json(const std::vector<OccupancyFigures>& run) {
  nlohmann::json all = {{"schema", 1}, {"occupancies", nlohmann::json::array()}};
  for (const OccupancyFigures& at : run) {
    nlohmann::json arms = nlohmann::json::array();
    for (const ArmFigures& arm : at.arms) {
      arms.push_back({{"arm", arm.arm},
                      {"p50_us", arm.series.p50_us()},
                      {"p99_us", arm.series.p99_us()},
                      {"cycle_p50_us", arm.series.cycle_p50_us()},
                      {"samples", arm.series.samples()},
                      {"errors", arm.series.errors()}});
    }
    all["occupancies"].push_back({{"percent", at.percent},
                                  {"held", at.held},
                                  {"range", at.range},
                                  {"arms", arms},
                                  {"daemon",
                                   {{"pool", at.daemon.on_pool},
                                    {"kernel", at.daemon.on_kernel},
                                    {"rejections", at.daemon.rejections},
                                    {"fallbacks", at.daemon.fallbacks}}}});
  }
  for (const Promise& promise : promises(run)) {
    all["promises"].push_back({{"text", promise.text},
                               {"value", promise.value},
                               {"goal", promise.goal},
                               {"at_least", promise.at_least},
                               {"kept", promise.kept()}});
  }
  return all;
}

}  // namespace portpool::bench
