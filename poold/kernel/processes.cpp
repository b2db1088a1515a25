#include "kernel/processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <string_view>

#include "base/parse_number.h"
#include "kernel/proc_file.h"
#include "kernel/process_text.h"

namespace portpool::kernel {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::string file_of(pid_t pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

// Kernel threads have no descriptors, but say so to root only. Their parent is kthreadd.
bool is_kernel_thread(pid_t pid) {
  constexpr pid_t kKthreadd = 2;
  const auto stat = read_proc_file(file_of(pid, "stat"));
  if (!stat) return true;  // gone: of no interest either
  const auto parent = whole_number<pid_t>(stat_field(*stat, kParentField));
  return pid == kKthreadd || parent == kKthreadd;
}

// The inode in "socket:[12345]".
std::optional<std::uint32_t> socket_inode(std::string_view link) {
  constexpr std::string_view kPrefix = "socket:[";
  if (!link.starts_with(kPrefix) || !link.ends_with(']')) return std::nullopt;
  return whole_number<std::uint32_t>(link.substr(kPrefix.size(), link.size() - kPrefix.size() - 1));
}

void scan_process(pid_t pid, ProcessScan& scan) {
  const Directory descriptors(::opendir(file_of(pid, "fd").c_str()));
  if (!descriptors) {
    const bool no_descriptor = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
    const bool not_permitted = errno == EACCES || errno == EPERM;
    if (no_descriptor || (not_permitted && !is_kernel_thread(pid))) ++scan.unreadable;
    return;
  }
  const auto index = static_cast<std::uint32_t>(scan.processes.size());
  const std::size_t before = scan.holders.size();
  ProcessRecord process{.pid = pid, .name = {}, .open = 0};
  bool permitted = true;
  std::array<char, 64> link;
  while (const dirent* entry = ::readdir(descriptors.get())) {
    if (entry->d_name[0] == '.') continue;
    ++process.open;
    const ssize_t size =
        ::readlinkat(::dirfd(descriptors.get()), entry->d_name, link.data(), link.size());
    if (size < 0) {
      permitted = permitted && errno != EACCES && errno != EPERM;
      continue;
    }
    const auto inode = socket_inode({link.data(), static_cast<std::size_t>(size)});
    if (inode) scan.holders.push_back({*inode, index});
  }
  // A process that gave up its privileges lists its descriptors but hides where they lead.
  if (!permitted) ++scan.unreadable;
  if (scan.holders.size() == before) return;
  process.name = read_proc_file(file_of(pid, "comm")).value_or("?");
  if (process.name.ends_with('\n')) process.name.pop_back();
  scan.processes.push_back(std::move(process));
}

}  // namespace

const ProcessRecord* ProcessScan::holder_of(std::uint32_t inode) const {
  if (inode == 0) return nullptr;
  const auto found = std::lower_bound(
      holders.begin(), holders.end(), inode,
      [](const SocketHolder& holder, std::uint32_t wanted) { return holder.inode < wanted; });
  return found != holders.end() && found->inode == inode ? &processes[found->process] : nullptr;
}

ProcessScan scan_processes() {
  ProcessScan scan;
  std::vector<pid_t> pids;
  if (const Directory proc{::opendir("/proc")}) {
    while (const dirent* entry = ::readdir(proc.get())) {
      if (const auto pid = whole_number<pid_t>(entry->d_name)) pids.push_back(*pid);
    }
  }
  scan.proc_mounted = !pids.empty();
  std::sort(pids.begin(), pids.end());
  for (const pid_t pid : pids) scan_process(pid, scan);
  std::stable_sort(scan.holders.begin(), scan.holders.end(),
                   [](const SocketHolder& a, const SocketHolder& b) { return a.inode < b.inode; });
  const auto same = [](const SocketHolder& a, const SocketHolder& b) { return a.inode == b.inode; };
  scan.holders.erase(std::unique(scan.holders.begin(), scan.holders.end(), same),
                     scan.holders.end());
  return scan;
}

std::optional<std::uint64_t> open_files_limit(pid_t pid) {
  const auto limits = read_proc_file(file_of(pid, "limits"));
  return limits ? open_files_limit_in(*limits) : std::nullopt;
}

}  // namespace portpool::kernel
