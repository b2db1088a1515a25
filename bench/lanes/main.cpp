// bench_lanes: what lanes cost, and what they give when ports run out. Each measurement has a
// process and a private network namespace to itself.
#include <getopt.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>

#include "figures.h"
#include "loopback.h"
#include "measurements.h"
#include "pipe_io.h"
#include "worker.h"

namespace portpool::bench {
namespace {

constexpr const char* kUsage =
    "bench_lanes: what lanes cost, and what they give when ports run out\n"
    "  --only NAME       one of reconcile, last-ports, refill, sources, fail-fast,\n"
    "                    observing\n"
    "  --quick           a few seconds each\n"
    "  --json FILE       writes the figures there too\n"
    "  --poold FILE, --library FILE   the programs measured (those built with this one)\n";

struct Measurement {
  const char* name;
  const char* title;
  nlohmann::json (*measure)(const LaneOptions&);
};

constexpr Measurement kMeasurements[] = {
    {"reconcile", "reconcile: keeping one lane true", &measure_reconcile},
    {"last-ports", "last-ports: two workers, 12 of 28,232 ports free", &measure_last_ports},
    {"refill", "refill: a port closed in doubt, the lane empty", &measure_refill},
    {"sources", "sources: one destination, three source addresses", &measure_sources},
    {"fail-fast", "fail-fast: no port free, four workers that try again every ms",
     &measure_fail_fast},
    {"observing", "observing: looking at 1,000 lanes", &measure_observing},
};

// A built program, found from this one's place in the build folder.
std::string built(const char* relative) {
  const auto here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  return (here / relative).lexically_normal().string();
}

LaneOptions parse_options(int argc, char** argv) {
  const option known[] = {{"only", 1, nullptr, 'o'},    {"quick", 0, nullptr, 'q'},
                          {"json", 1, nullptr, 'j'},    {"poold", 1, nullptr, 'd'},
                          {"library", 1, nullptr, 'l'}, {"help", 0, nullptr, 'h'},
                          {nullptr, 0, nullptr, 0}};
  LaneOptions options;
  options.poold = built("poold");
  options.library = built("../lib/libportpool.so");
  for (int letter; (letter = ::getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    const std::string value = ::optarg != nullptr ? ::optarg : "";
    if (letter == 'o') {
      options.only = value;
    } else if (letter == 'q') {
      options.quick = true;
    } else if (letter == 'j') {
      options.json = value;
    } else if (letter == 'd') {
      options.poold = value;
    } else if (letter == 'l') {
      options.library = value;
    } else if (letter == 'h') {
      std::cout << kUsage;
      std::exit(0);
    } else {
      throw std::invalid_argument(kUsage);
    }
  }
  if (::optind < argc) throw std::invalid_argument(kUsage);
  return options;
}

[[noreturn]] void measure_in_child(const Measurement& measurement, const LaneOptions& options,
                                   int out) {
  int status = 2;
  try {
    die_with_parent();
    enter_private_namespace();
    const std::string text = measurement.measure(options).dump();
    status = write_all(out, text.data(), text.size()) ? 0 : 2;
  } catch (const std::exception& error) {
    std::cerr << measurement.name << ": " << error.what() << '\n';
  }
  ::_exit(status);
}

// An empty list when the measurement failed (and has said why).
nlohmann::json measure_apart(const Measurement& measurement, const LaneOptions& options) {
  Pipe pipe;
  const pid_t pid = ::fork();
  if (pid == 0) measure_in_child(measurement, options, pipe.write_end());
  if (pid < 0) throw std::runtime_error("fork failed");
  pipe.close_write_end();
  std::string text;
  char chunk[4096];
  for (ssize_t got; (got = ::read(pipe.read_end(), chunk, sizeof chunk)) > 0;) {
    text.append(chunk, static_cast<std::size_t>(got));
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status == 0 ? nlohmann::json::parse(text) : nlohmann::json::array();
}

int run(int argc, char** argv) {
  const LaneOptions options = parse_options(argc, argv);
  nlohmann::json all = {{"schema", 1}, {"measurements", nlohmann::json::array()}};
  bool complete = true;
  for (const Measurement& measurement : kMeasurements) {
    if (!options.only.empty() && options.only != measurement.name) continue;
    const nlohmann::json figures = measure_apart(measurement, options);
    complete = complete && !figures.empty();
    print_figures(std::cout, measurement.title, figures);
    all["measurements"].push_back({{"name", measurement.name}, {"figures", figures}});
  }
  if (all["measurements"].empty()) throw std::invalid_argument(kUsage);
  if (!options.json.empty()) std::ofstream(options.json) << all.dump(2) << '\n';
  return complete ? 0 : 2;
}

}  // namespace
}  // namespace portpool::bench

int main(int argc, char** argv) {
  using namespace portpool::bench;
  try {
    if (argc == 2 && std::strcmp(argv[1], "--worker") == 0) return run_worker();
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
