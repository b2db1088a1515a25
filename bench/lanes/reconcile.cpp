#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "figures.h"
#include "server.h"
#include "stage.h"

namespace portpool::bench {
namespace {

struct Reading {
  double passes;
  double pass_cpu_ms;
  double daemon_cpu_ms;
  std::chrono::steady_clock::time_point at;
};

// User and system time of a process, proc_pid_stat(5).
double cpu_ms_of(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) * 1000 / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

Reading read(const Daemon& daemon) {
  const nlohmann::json status = daemon.status();
  const nlohmann::json& reconcile = status.at("reconcile");
  return {reconcile.at("passes").get<double>(), reconcile.at("cpu_ms").get<double>(),
          cpu_ms_of(status.at("daemon").at("pid").get<int>()), std::chrono::steady_clock::now()};
}

struct Cost {
  double pass_ms;
  double passes_per_s;
  double pass_share;    // of a core, in per cent
  double daemon_share;  // the whole process
};

// While one worker makes a short connection every 20 ms, so that the lane is in use and changes.
Cost cost_over(const Stage& stage, Worker& user, std::uint32_t ms) {
  const Reading before = read(stage.daemon());
  user.run({Job::peer_closes, 0, ms, 20'000});
  const Reading after = read(stage.daemon());
  const double wall_ms = std::chrono::duration<double, std::milli>(after.at - before.at).count();
  const double passes = after.passes - before.passes;
  const double cpu = after.pass_cpu_ms - before.pass_cpu_ms;
  return {passes > 0 ? cpu / passes : 0, passes * 1000 / wall_ms, cpu / wall_ms * 100,
          (after.daemon_cpu_ms - before.daemon_cpu_ms) / wall_ms * 100};
}

}  // namespace

nlohmann::json measure_reconcile(const LaneOptions& options) {
  Stage stage(options);
  stage.make_lane();
  const Workers users = stage.workers(1, true);
  const std::uint32_t ms = options.quick ? 3000 : 15000;
  nlohmann::json figures = nlohmann::json::array();

  const Occupied most(stage.listener(), stage.range().low, 25'000);
  stage.wait_for_free(stage.range().count() - 25'000);
  {
    const Server server(stage.listener(), Serving::close_first);
    const Cost cost = cost_over(stage, *users[0], ms);
    add_figure(figures, "one pass, 25,000 connections", cost.pass_ms, "ms CPU");
    add_figure(figures, "passes a second", cost.passes_per_s, "1/s");
    add_goal(figures, "passes' share of a core", cost.pass_share, "%", 3, false);
    add_figure(figures, "whole daemon's share of a core", cost.daemon_share, "%");
  }
  const Occupied more(stage.listener(), static_cast<std::uint16_t>(stage.range().low + 25'000),
                      3'000);
  stage.wait_for_free(stage.range().count() - 28'000);
  const Server server(stage.listener(), Serving::close_first);
  const Cost cost = cost_over(stage, *users[0], ms);
  add_figure(figures, "one pass, 28,000 connections", cost.pass_ms, "ms CPU");
  add_figure(figures, "whole daemon's share of a core, 28,000", cost.daemon_share, "%");
  return figures;
}

}  // namespace portpool::bench
