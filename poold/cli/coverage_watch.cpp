#include "cli/coverage_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "kernel/preload.h"
#include "kernel/process_identity.h"

namespace portpool {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirst{20};
constexpr milliseconds kRarest{2000};
constexpr std::size_t kMostVisited = 64;  // each look
constexpr std::size_t kMostExamined = 4;

// Empty: it has the library, or nothing is known about it.
std::string missing_in(pid_t pid, const std::string& name, const kernel::PreloadState& state) {
  if (state.loaded || kernel::name_of_process(pid) != name) return {};
  const std::string who = fmt::format("{} (pid {})", for_terminal(name), pid);
  if (state.requested) {
    return fmt::format(
        "{} did not load the library though LD_PRELOAD names it; poold check tells why", who);
  }
  return fmt::format(
      "{} was started without the library: what started it dropped or replaced LD_PRELOAD", who);
}

}  // namespace

CoverageWatch::CoverageWatch(EventLoop& loop)
    : loop_(loop), timer_(loop.add_timer([this] { look(); })), pause_(kFirst) {
  loop_.set_timer(timer_, pause_);
}

void CoverageWatch::look() {
  std::vector<pid_t> tree = kernel::children_of(getpid());
  std::size_t examined = 0;
  for (std::size_t i = 0; i < tree.size() && i < kMostVisited && examined < kMostExamined; ++i) {
    for (const pid_t child : kernel::children_of(tree[i])) tree.push_back(child);
    const std::string name = kernel::name_of_process(tree[i]).value_or("");
    if (name.empty() || seen_.contains({tree[i], name})) continue;
    ++examined;
    const auto state = kernel::preload_state(tree[i], kernel::kLibrary);
    if (state && state->starting) continue;  // the next look tells
    seen_.insert({tree[i], name});
    if (!state) continue;
    if (finding_ = missing_in(tree[i], name, *state); !finding_.empty()) return;
  }
  pause_ = std::min(pause_ * 2, kRarest);
  loop_.set_timer(timer_, pause_);
}

}  // namespace portpool
