#include "kernel/preload.h"

#include <cerrno>
#include <string_view>

#include "base/parse_number.h"
#include "kernel/proc_file.h"
#include "portpool/handover.h"

namespace portpool::kernel {
namespace {

// Of a line of /proc/PID/maps: address, rights, offset, device, inode, and what is mapped.
ino_t inode_in(std::string_view line) {
  for (int field = 0; field < 4; ++field) {
    line.remove_prefix(std::min(line.find(' '), line.size()));
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  }
  return whole_number<ino_t>(line.substr(0, line.find(' '))).value_or(0);
}

}  // namespace

std::optional<PreloadState> preload_state(pid_t pid, const std::string& library) {
  const std::string folder = "/proc/" + std::to_string(pid);
  const std::string file = "/" + library;
  const std::string segment = std::string("/memfd:") + kStructureName + " ";
  PreloadState state;
  bool any = false;
  bool has_linker = false;
  bool has_libc = false;
  errno = 0;
  const bool readable = visit_lines(folder + "/maps", [&](std::string_view line) {
    any = true;
    if (!state.loaded && line.find(file) != std::string_view::npos) {
      state.loaded = true;
      state.replaced = line.ends_with(" (deleted)");
    }
    if (line.find(segment) != std::string_view::npos) state.structure = inode_in(line);
    has_linker = has_linker || line.find("/ld-linux") != std::string_view::npos;
    has_libc = has_libc || line.find("/libc.so.") != std::string_view::npos ||
               line.find("/libc-2.") != std::string_view::npos;
    return !state.loaded || state.structure == 0;
  });
  if (!readable || !any) return std::nullopt;
  state.starting = !state.loaded && has_linker && !has_libc;
  const auto environment = read_proc_file(folder + "/environ", kMaxEnvironment);
  if (!environment) return std::nullopt;
  const auto variable = [&](std::string_view name) {
    return variable_in(*environment, name).value_or("");
  };
  state.preload = variable("LD_PRELOAD");
  state.mode = variable("PORTPOOL_MODE");
  state.socket = variable("PORTPOOL_SOCKET");
  state.requested = state.preload.find(library) != std::string::npos;
  return state;
}

}  // namespace portpool::kernel
