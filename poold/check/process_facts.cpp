#include "check/process_facts.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace portpool::check {
namespace {

// ld.so takes a millisecond or two; a busy machine gives it longer.
constexpr int kLooksAtStart = 20;
constexpr std::chrono::milliseconds kBetweenLooks{10};

}  // namespace

std::optional<ProcessFacts> read_process(pid_t pid) {
  auto preload = kernel::preload_state(pid, kernel::kLibrary);
  for (int look = 0; look < kLooksAtStart && preload && preload->starting; ++look) {
    std::this_thread::sleep_for(kBetweenLooks);
    preload = kernel::preload_state(pid, kernel::kLibrary);
  }
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
