#include "check/process_facts.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

namespace portpool::check {

std::optional<ProcessFacts> read_process(pid_t pid) {
  auto preload = kernel::preload_state(pid, kLibrary);
  if (!preload) return std::nullopt;
  auto who = kernel::identify(pid);
  if (!who) {
    errno = ENOENT;
    return std::nullopt;
  }
  ProcessFacts process{*std::move(who), *std::move(preload), kernel::namespace_of(pid, "net")};
  if (process.preload.requested && !process.preload.loaded) {
    const std::string file =
        process.preload.preload.substr(0, process.preload.preload.find_first_of(": "));
    process.library_is_there = access(fmt::format("/proc/{}/root{}", pid, file).c_str(), R_OK) == 0;
  }
  return process;
}

}  // namespace portpool::check
