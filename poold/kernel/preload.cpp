#include "kernel/preload.h"

#include <cerrno>
#include <string_view>

#include "kernel/proc_file.h"
#include "kernel/process_text.h"
#include "portpool/handover.h"

namespace portpool::kernel {
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
    if (line.find(segment) != std::string_view::npos) state.structure = mapped_inode(line);
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
