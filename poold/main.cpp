#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <exception>

#include "cli/commands.h"
#include "error.h"

namespace {

constexpr int kFailed = 2;

int run_program(int argc, char** argv) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("poold"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e poold[%P] %l: %v");
  int status = 0;
  CLI::App program("Source ports for programs that open many outgoing connections.", "poold");
  program.require_subcommand(1);
  portpool::add_serve_command(program, status);
  portpool::add_run_command(program, status);
  portpool::add_status_command(program, status);
  portpool::add_version_command(program, status);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : kFailed;
  }
  return status;
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
