#include <cstdio>
#include <exception>
#include <string_view>

#include "base/error.h"
#include "cli/arguments.h"
#include "daemon/log.h"
#include "daemon/process_setup.h"

namespace {

constexpr int kFailed = 2;

}  // namespace

int main(int argc, char** argv) {
  try {
    portpool::have_standard_descriptors();
    if (argc > 1 && argv[1] == std::string_view("serve")) portpool::hold_signals();
    const int status = portpool::run_command_line(argc, argv);
    if (std::fflush(stdout) != 0) {
      throw portpool::UserError(portpool::with_errno("cannot write to standard output"));
    }
    return status;
  } catch (const std::exception& error) {
    portpool::say_at_the_end(error.what());
    return kFailed;
  }
}
