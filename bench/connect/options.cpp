#include "options.h"

#include <getopt.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace portpool::bench {
namespace {

std::vector<double> parse_percents(const std::string& text) {
  std::vector<double> percents;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    const double percent = std::stod(item);
    if (percent < 0 || percent >= 100 || (!percents.empty() && percent <= percents.back())) {
      throw std::invalid_argument("--occupancy: ascending per cents below 100, such as 0,52,99.9");
    }
    percents.push_back(percent);
  }
  if (percents.empty()) throw std::invalid_argument("--occupancy: none given");
  return percents;
}

std::uint32_t parse_count(const char* name, const std::string& text, std::uint32_t most) {
  const unsigned long value = std::stoul(text);
  if (value < 1 || value > most) {
    throw std::invalid_argument(std::string("--") + name + ": 1 to " + std::to_string(most));
  }
  return static_cast<std::uint32_t>(value);
}

// A built program, found from this one's place in the build folder.
std::string built(const char* relative) {
  const auto here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  return (here / relative).lexically_normal().string();
}

}  // namespace

Options parse_options(int argc, char** argv) {
  // Two listen backlogs' worth must never wait at once; see kBacklog.
  constexpr std::uint32_t kMostConnects = 2048;
  const option known[] = {
      {"occupancy", 1, nullptr, 'o'}, {"rounds", 1, nullptr, 'r'},  {"connects", 1, nullptr, 'c'},
      {"budget-ms", 1, nullptr, 'b'}, {"quick", 0, nullptr, 'q'},   {"cpu", 1, nullptr, 'p'},
      {"seed", 1, nullptr, 's'},      {"json", 1, nullptr, 'j'},    {"poold", 1, nullptr, 'd'},
      {"library", 1, nullptr, 'l'},   {"against", 1, nullptr, 'a'}, {"help", 0, nullptr, 'h'},
      {nullptr, 0, nullptr, 0}};
  Options options;
  for (int letter; (letter = ::getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    const std::string value = ::optarg != nullptr ? ::optarg : "";
    switch (letter) {
      case 'o':
        options.percents = parse_percents(value);
        break;
      case 'r':
        options.rounds = parse_count("rounds", value, 100000);
        break;
      case 'c':
        options.connects = parse_count("connects", value, kMostConnects);
        break;
      case 'b':
        options.budget_ms = parse_count("budget-ms", value, 60000);
        break;
      case 'p':
        options.cpu = std::stoi(value);
        break;
      case 's':
        options.seed = std::stoull(value);
        break;
      case 'j':
        options.json = value;
        break;
      case 'd':
        options.poold = value;
        break;
      case 'l':
        options.library = value;
        break;
      case 'a':
        options.against.push_back(value);
        break;
      case 'q':
        options.rounds = 10;
        options.percents = {0, 52, 99.9};
        break;
      case 'h':
        std::cout << kUsage;
        std::exit(0);
      default:
        throw std::invalid_argument(kUsage);
    }
  }
  if (::optind < argc) throw std::invalid_argument(kUsage);
  if (options.cpu < 0) options.cpu = static_cast<int>(std::thread::hardware_concurrency()) - 1;
  if (options.poold.empty()) options.poold = built("poold");
  if (options.library.empty()) options.library = built("../lib/libportpool.so");
  return options;
}

}  // namespace portpool::bench
