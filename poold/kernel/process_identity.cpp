#include "kernel/process_identity.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/parse_number.h"
#include "kernel/proc_file.h"

namespace portpool::kernel {
namespace {

std::string folder_of(pid_t pid) { return "/proc/" + std::to_string(pid); }

// The words of a line "NAME:\t..." of /proc/PID/status.
std::vector<std::string_view> words_of(std::string_view status, std::string_view name) {
  std::vector<std::string_view> words;
  std::size_t at = 0;
  while (!status.substr(at).starts_with(name)) {
    at = status.find('\n', at);
    if (at == std::string_view::npos) return words;
    ++at;
  }
  std::string_view line = status.substr(at, status.find('\n', at) - at);
  line.remove_prefix(name.size());
  while (true) {
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.empty()) return words;
    const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

template <class Number>
Number number_at(const std::vector<std::string_view>& words, std::size_t index, int base = 10) {
  return index < words.size() ? whole_number<Number>(words[index], base).value_or(0) : 0;
}

// Field 22 of /proc/PID/stat, in clock ticks; the name before may hold anything.
std::uint64_t start_of(pid_t pid) {
  const auto stat = read_proc_file(folder_of(pid) + "/stat");
  const std::size_t name_end = stat ? stat->rfind(") ") : std::string::npos;
  if (name_end == std::string::npos) return 0;
  std::string_view rest = std::string_view(*stat).substr(name_end + 2);
  for (int field = 3; field < 22; ++field)
    rest.remove_prefix(std::min(rest.find(' ') + 1, rest.size()));
  const auto ticks = whole_number<std::uint64_t>(rest.substr(0, rest.find(' '))).value_or(0);
  return ticks * (1'000'000'000U / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)));
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
  auto name = read_proc_file(folder_of(pid) + "/comm");
  if (!status || !name) return std::nullopt;
  ProcessIdentity process;
  process.pid = pid;
  if (name->ends_with('\n')) name->pop_back();
  process.name = std::move(*name);
  constexpr std::size_t kForFiles = 3;  // real, effective, saved, and this one
  process.user = number_at<uid_t>(words_of(*status, "Uid:"), kForFiles);
  process.group = number_at<gid_t>(words_of(*status, "Gid:"), kForFiles);
  for (const std::string_view group : words_of(*status, "Groups:")) {
    process.groups.push_back(whole_number<gid_t>(group).value_or(0));
  }
  const std::vector<std::string_view> numbers = words_of(*status, "NSpid:");
  process.inner_pid = numbers.empty() ? pid : number_at<pid_t>(numbers, numbers.size() - 1);
  process.pid_namespace = namespace_of(pid, "pid");
  const auto rights = number_at<std::uint64_t>(words_of(*status, "CapEff:"), 0, 16);
  process.opens_all = (rights >> CAP_DAC_OVERRIDE & 1) != 0 &&
                      namespace_of(pid, "user") == namespace_of(::getpid(), "user");
  process.filtered = number_at<int>(words_of(*status, "Seccomp:"), 0) == 2;
  process.started_ns = start_of(pid);
  process.unit = unit_of(read_proc_file(folder_of(pid) + "/cgroup").value_or(""));
  return process;
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
