#include "kernel/process_identity.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/parse_number.h"
#include "base/text.h"
#include "kernel/proc_file.h"
#include "kernel/process_text.h"

namespace portpool::kernel {
namespace {

std::string folder_of(pid_t pid) { return "/proc/" + std::to_string(pid); }

template <class Number>
Number number_at(const std::vector<std::string_view>& words, std::size_t index, int base = 10) {
  return index < words.size() ? whole_number<Number>(words[index], base).value_or(0) : 0;
}

std::uint64_t start_of(pid_t pid) {
  constexpr int kStartTime = 22;  // in clock ticks
  const auto stat = read_proc_file(folder_of(pid) + "/stat");
  const auto ticks = whole_number<std::uint64_t>(stat ? stat_field(*stat, kStartTime) : "");
  return ticks.value_or(0) * (1'000'000'000U / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)));
}

bool is_identifier(std::string_view text) {
  constexpr std::size_t kLength = 64;  // hexadecimal digits, of docker, containerd, podman, CRI-O
  return text.size() >= kLength &&
         text.substr(text.size() - kLength).find_first_not_of("0123456789abcdef") ==
             std::string_view::npos;
}

}  // namespace

bool ProcessIdentity::is_in(gid_t wanted) const {
  return group == wanted || std::find(groups.begin(), groups.end(), wanted) != groups.end();
}

std::optional<ProcessIdentity> identify(pid_t pid) {
  const auto status = read_proc_file(folder_of(pid) + "/status");
  auto name = name_of_process(pid);
  if (!status || !name) return std::nullopt;
  ProcessIdentity process;
  process.pid = pid;
  process.name = std::move(*name);
  constexpr std::size_t kForFiles = 3;  // real, effective, saved, and this one
  process.user = number_at<uid_t>(status_words(*status, "Uid:"), kForFiles);
  process.group = number_at<gid_t>(status_words(*status, "Gid:"), kForFiles);
  for (const std::string_view group : status_words(*status, "Groups:")) {
    process.groups.push_back(whole_number<gid_t>(group).value_or(0));
  }
  const std::vector<std::string_view> numbers = status_words(*status, "NSpid:");
  process.inner_pid = numbers.empty() ? pid : number_at<pid_t>(numbers, numbers.size() - 1);
  process.pid_namespace = namespace_of(pid, "pid");
  // Who has one number alone is in this namespace.
  if (process.pid_namespace == 0 && numbers.size() == 1) {
    process.pid_namespace = namespace_of(::getpid(), "pid");
  }
  const auto rights = number_at<std::uint64_t>(status_words(*status, "CapEff:"), 0, 16);
  process.opens_all = (rights >> CAP_DAC_OVERRIDE & 1) != 0 &&
                      namespace_of(pid, "user") == namespace_of(::getpid(), "user");
  process.filtered = number_at<int>(status_words(*status, "Seccomp:"), 0) == 2;
  process.started_ns = start_of(pid);
  process.unit = unit_of_process(pid).value_or("");
  return process;
}

std::optional<std::string> name_of_process(pid_t pid) {
  auto name = read_proc_file(folder_of(pid) + "/comm");
  if (name && name->ends_with('\n')) name->pop_back();
  return name;
}

std::optional<std::string> unit_of_process(pid_t pid) {
  const auto cgroups = read_proc_file(folder_of(pid) + "/cgroup");
  if (!cgroups) return std::nullopt;
  return unit_of(*cgroups);
}

std::vector<pid_t> children_of(pid_t pid) {
  constexpr std::size_t kMost = std::size_t{1} << 20;
  std::vector<pid_t> children;
  const std::string task = folder_of(pid) + "/task/" + std::to_string(pid);
  const auto list = read_proc_file(task + "/children", kMost);
  for (const std::string_view word : words_of(list ? *list : "")) {
    if (const auto child = whole_number<pid_t>(word)) children.push_back(*child);
  }
  return children;
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> pids;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    if (const auto pid = whole_number<pid_t>(entry->path().filename().native())) {
      pids.push_back(*pid);
    }
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

std::string unit_of(std::string_view cgroups) {
  std::string unit;
  while (!cgroups.empty()) {
    const std::string_view line = cgroups.substr(0, cgroups.find('\n'));
    cgroups.remove_prefix(std::min(line.size() + 1, cgroups.size()));
    // Of the first version it is the hierarchy that systemd keeps.
    if (!line.starts_with("0::") && line.find(":name=systemd:") == std::string_view::npos) continue;
    std::string_view path = line.substr(std::min(line.rfind(':') + 1, line.size()));
    // The innermost that is one: services and containers make groups of their own below it.
    while (!path.empty()) {
      const std::size_t slash = path.rfind('/');
      std::string_view part = path.substr(slash == std::string_view::npos ? 0 : slash + 1);
      path = path.substr(0, slash == std::string_view::npos ? 0 : slash);
      const bool scope = part.ends_with(".scope");
      const std::string_view bare = scope ? part.substr(0, part.size() - 6) : part;
      if (is_identifier(bare)) {
        constexpr std::size_t kShown = 12;  // of the identifier, as docker ps shows it
        return std::string(bare.substr(0, bare.size() - 64 + kShown));
      }
      if (unit.empty() && (scope || part.ends_with(".service"))) unit = part;
    }
    if (!unit.empty()) return unit;
  }
  return unit;
}

ino_t namespace_of(pid_t pid, const char* kind) {
  struct stat info {};
  const std::string path = folder_of(pid) + "/ns/" + kind;
  return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

}  // namespace portpool::kernel
