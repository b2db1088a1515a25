#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <exception>

#include "cli/arguments.h"

namespace {

constexpr int kFailed = 2;

int run_program(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("poold"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e poold[%P] %l: %v");
  return portpool::run_command_line(argc, argv);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_program(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "poold: %s\n", error.what());
    return kFailed;
  }
}
