// bench_connect: one connect() through the shim, beside the kernel's own choice of port and beside
// a port known to be free, at each occupancy of the range. The arms take turns in short blocks, in
// random order, so that whatever disturbs the machine disturbs all of them.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "arm.h"
#include "daemon.h"
#include "held.h"
#include "loopback.h"
#include "options.h"
#include "report.h"

namespace portpool::bench {
namespace {

// Blocks of each arm that are run and not counted, after every change of occupancy.
constexpr std::uint32_t kWarmupRounds = 3;
// For poold to notice the connections that have just been added.
constexpr auto kSettle = std::chrono::milliseconds(1500);

class Comparison {
 public:
  explicit Comparison(const Options& options)
      : options_(options), random_(options.seed), listener_(open_listener()), held_(listener_) {
    start_arms();
  }

  OccupancyFigures measure(double percent) {
    OccupancyFigures figures;
    figures.percent = percent;
    figures.range = range_.count();
    figures.held = static_cast<std::size_t>(std::ceil(range_.count() * percent / 100));
    held_.grow_to(figures.held);
    free_ports_ = find_free_ports();
    for (const auto& arm : arms_) figures.arms.push_back({arm->name(), {}});
    if (daemon_) std::this_thread::sleep_for(kSettle);
    for (std::uint32_t round = 0; round < kWarmupRounds; ++round) run_round(nullptr);
    const DaemonFigures before = count();
    for (std::uint32_t round = 0; round < options_.rounds; ++round) run_round(&figures.arms);
    figures.daemon = difference(count(), before);
    return figures;
  }

 private:
  void start_arms() {
    std::vector<ArmSpec> specs = {{kKernelArm, Path::plain}, {kPinnedArm, Path::pinned}};
    const std::pair<std::string, std::string> preload{"LD_PRELOAD", options_.library};
    if (!std::filesystem::exists(options_.library)) {
      std::cerr << "no " << options_.library << ": arms with the shim are left out\n";
    } else {
      specs.push_back({kNoDaemonArm, Path::plain, {preload, {"PORTPOOL_SOCKET", "/nonexistent"}}});
      if (std::filesystem::exists(options_.poold)) {
        daemon_.emplace(options_.poold);
        const std::pair<std::string, std::string> socket{"PORTPOOL_SOCKET", daemon_->socket()};
        specs.push_back({kShimArm, Path::plain, {preload, socket}});
        for (std::size_t i = 0; i < options_.against.size(); ++i) {
          specs.push_back({kAgainstArm + std::to_string(i + 1),
                           Path::plain,
                           {{"LD_PRELOAD", options_.against[i]}, socket}});
        }
      } else {
        std::cerr << "no " << options_.poold << ": the arm " << kShimArm << " is left out\n";
      }
    }
    for (ArmSpec& spec : specs)
      arms_.push_back(std::make_unique<Arm>(std::move(spec), options_.cpu));
  }

  std::vector<std::uint16_t> find_free_ports() const {
    std::vector<bool> taken(65536);
    for (const std::uint16_t port : held_.ports()) taken[port] = true;
    std::vector<std::uint16_t> ports;
    for (std::uint32_t port = range_.low; port <= range_.high; ++port) {
      if (!taken[port]) ports.push_back(static_cast<std::uint16_t>(port));
    }
    return ports;
  }

  // As many as a block can use, at random, without repetition.
  std::vector<std::uint16_t> some_free_ports() {
    const std::size_t wanted = std::min<std::size_t>(options_.connects, free_ports_.size());
    for (std::size_t i = 0; i < wanted; ++i) {
      std::uniform_int_distribution<std::size_t> rest(i, free_ports_.size() - 1);
      std::swap(free_ports_[i], free_ports_[rest(random_)]);
    }
    return {free_ports_.begin(), free_ports_.begin() + static_cast<std::ptrdiff_t>(wanted)};
  }

  // One block of every arm, in random order. Without `out` the figures are dropped.
  void run_round(std::vector<ArmFigures>* out) {
    std::vector<std::size_t> order(arms_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random_);
    for (const std::size_t i : order) {
      const BlockResult block =
          arms_[i]->run(options_.connects, options_.budget_ms, some_free_ports());
      drain(listener_);
      if (out != nullptr) (*out)[i].series.add(block);
    }
  }

  DaemonFigures count() const {
    DaemonFigures figures;
    if (!daemon_) return figures;
    const nlohmann::json status = daemon_->status();
    figures.on_pool = status.at("connects").at("pool").get<std::uint64_t>();
    figures.on_kernel = status.at("connects").at("kernel").get<std::uint64_t>();
    figures.rejections = status.at("rejections").get<std::uint64_t>();
    figures.fallbacks = status.at("fallbacks");
    return figures;
  }

  static DaemonFigures difference(const DaemonFigures& after, const DaemonFigures& before) {
    DaemonFigures figures;
    figures.on_pool = after.on_pool - before.on_pool;
    figures.on_kernel = after.on_kernel - before.on_kernel;
    figures.rejections = after.rejections - before.rejections;
    for (const auto& [reason, value] : after.fallbacks.items()) {
      const auto more =
          value.get<std::uint64_t>() - before.fallbacks.value(reason, std::uint64_t{});
      if (more > 0) figures.fallbacks[reason] = more;
    }
    return figures;
  }

  const Options& options_;
  std::mt19937_64 random_;
  const PortRange range_ = local_port_range();
  int listener_;
  HeldConnections held_;
  std::optional<Daemon> daemon_;
  std::vector<std::unique_ptr<Arm>> arms_;
  std::vector<std::uint16_t> free_ports_;
};

int run(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  enter_private_namespace();
  Comparison comparison(options);
  std::vector<OccupancyFigures> all;
  for (const double percent : options.percents) {
    all.push_back(comparison.measure(percent));
    print(std::cout, all.back());
  }
  print(std::cout, promises(all));
  if (!options.json.empty()) std::ofstream(options.json) << to_json(all).dump(2) << '\n';
  return 0;
}

}  // namespace
}  // namespace portpool::bench

int main(int argc, char** argv) {
  using namespace portpool::bench;
  try {
    if (argc == 4 && std::strcmp(argv[1], "--worker") == 0) {
      const Path path = std::strcmp(argv[2], "pinned") == 0 ? Path::pinned : Path::plain;
      return run_worker(path, std::atoi(argv[3]));
    }
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
