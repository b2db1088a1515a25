#include "check/process.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "check/program.h"
#include "kernel/proc_file.h"

namespace portpool::check {
namespace {

using kernel::variable_in;

constexpr std::string_view kLibrary = "libportpool.so";
constexpr std::string_view kSegment = "/memfd:portpool";

struct Process {
  pid_t pid;
  bool library = false;  // mapped
  bool segment = false;  // mapped
  std::string environment = {};

  std::string file(const char* name) const { return fmt::format("/proc/{}/{}", pid, name); }

  // Empty: not permitted, gone, or nothing in it.
  std::string read(const char* name) const {
    return kernel::read_proc_file(file(name), kernel::kMaxEnvironment).value_or("");
  }

  // False with errno set: not permitted, gone, or nothing is mapped.
  bool read_maps() {
    bool any = false;
    errno = 0;
    kernel::visit_lines(file("maps"), [&](std::string_view line) {
      any = true;
      library = library || line.find(kLibrary) != std::string_view::npos;
      segment = segment || line.find(kSegment) != std::string_view::npos;
      return !(library && segment);
    });
    return any;
  }

  // A namespace's inode; 0 when it may not be seen.
  ino_t name_space(const char* kind) const {
    struct stat info {};
    return stat(file(kind).c_str(), &info) == 0 ? info.st_ino : 0;
  }
};

std::string status_field(const std::string& status, const std::string& name) {
  const std::size_t at = status.find("\n" + name + ":");
  if (at == std::string::npos) return {};
  const std::size_t value = status.find_first_not_of(" \t", at + name.size() + 2);
  return status.substr(value, status.find('\n', value) - value);
}

// False: it can never be loaded into what runs now, or that cannot be told.
bool judge_loading(const Process& process, Judgement& judgement) {
  if (process.library) {
    judgement.add("library", Answer::yes, "libportpool.so is loaded");
    return true;
  }
  const std::optional<std::string> preload = variable_in(process.environment, "LD_PRELOAD");
  if (!preload || preload->find(kLibrary) == std::string::npos) {
    judgement.add("library", Answer::no,
                  "libportpool.so is not loaded: the process was started without it",
                  "start it again with: poold run -- COMMAND, or with LD_PRELOAD and "
                  "PORTPOOL_SOCKET in its environment");
    return false;
  }
  const std::string path = preload->substr(0, preload->find_first_of(": "));
  const bool visible = access((process.file("root") + path).c_str(), R_OK) == 0;
  judgement.add("library", Answer::no,
                fmt::format("libportpool.so is not loaded, though LD_PRELOAD names {}{}", *preload,
                            visible ? "" : ", which is not there in its own file system"),
                visible ? "see the other reasons" : "put the library into its container or chroot");
  return false;
}

void judge_mode(const Process& process, Judgement& judgement) {
  const std::string mode = variable_in(process.environment, "PORTPOOL_MODE").value_or("");
  if (mode == "observe") {
    judgement.add("mode", Answer::no, "PORTPOOL_MODE=observe: it only records latency",
                  "start it again without PORTPOOL_MODE");
  } else if (!mode.empty() && mode != "pool") {
    judgement.add("mode", Answer::no,
                  fmt::format("PORTPOOL_MODE={} switches the library off", mode),
                  "start it again without PORTPOOL_MODE");
  }
}

void judge_namespace(const Process& process, const std::optional<DaemonFacts>& daemon,
                     Judgement& judgement) {
  const ino_t theirs = process.name_space("ns/net");
  struct stat info {};
  const ino_t ours = stat("/proc/thread-self/ns/net", &info) == 0 ? info.st_ino : 0;
  const ino_t wanted = daemon ? daemon->network_namespace.inode : ours;
  if (theirs == 0 || wanted == 0 || theirs == wanted) return;
  judgement.add(
      "network_namespace", Answer::no,
      fmt::format("It is in another network namespace than {}",
                  daemon ? "poold on " + daemon->socket : "this command"),
      fmt::format("run a poold in its own: nsenter --net --target {} poold serve --socket "
                  "...",
                  process.pid));
}

void judge_attachment(const Process& process, const std::optional<DaemonFacts>& daemon,
                      Judgement& judgement) {
  if (process.segment) {
    judgement.add("segment", Answer::yes, "It has poold's segment mapped");
    return;
  }
  const std::string socket =
      variable_in(process.environment, "PORTPOOL_SOCKET").value_or(daemon ? daemon->socket : "");
  const bool visible =
      !socket.empty() && access((process.file("root") + socket).c_str(), F_OK) == 0;
  judgement.add("segment", Answer::partly,
                fmt::format("It has not attached to poold: its connects take the kernel's path{}",
                            visible || socket.empty()
                                ? ""
                                : fmt::format("; there is no {} in its file system", socket)),
                visible ? "let its user attach (socket_group in poold's configuration); it tries "
                          "again each second"
                        : "start poold there, or make its socket visible to the process; it tries "
                          "again each second");
}

void judge_hardening(const Process& process, const std::string& status, Judgement& judgement) {
  if (status_field(status, "Seccomp") == "2") {
    judgement.add(
        "seccomp", Answer::partly,
        "A seccomp filter is in force. If the process has installed it itself, its connects have "
        "taken the kernel's path since then (reason seccomp); if it was there before, it may "
        "forbid what the library does",
        "poold status: the reasons seccomp, pin_failed and attach_failed stay at 0 if all is well; "
        "a filter from outside has to allow the library's calls (docs/connect.md)");
  }
  std::string profile = process.read("attr/apparmor/current");
  if (profile.empty()) profile = process.read("attr/current");
  if (profile.find("(enforce)") != std::string::npos) {
    judgement.add(
        "apparmor", Answer::partly,
        fmt::format("An AppArmor profile is enforced: {}", profile.substr(0, profile.find('\n'))),
        "allow the library (mr) and poold's socket (rw) in the profile");
  }
}

}  // namespace

Judgement judge_process(pid_t pid, const std::optional<DaemonFacts>& daemon) {
  Process process{pid};
  Judgement judgement;
  judgement.subject = fmt::format("pid {}", pid);
  const std::string status = process.read("status");
  if (status.empty()) {
    throw UserError(
        fmt::format("there is no process {} here (pid namespaces count for themselves)", pid));
  }
  char program[4096];
  const ssize_t length = readlink(process.file("exe").c_str(), program, sizeof program);
  if (length <= 0 || !process.read_maps()) {
    judgement.add("access", Answer::unknown,
                  errno == ENOENT ? "It is a kernel thread, or has just ended"
                                  : "This user may not look into it",
                  "ask as root, or as its user");
    return judgement;
  }
  process.environment = process.read("environ");
  judgement.program.assign(program, static_cast<std::size_t>(length));
  judge_executable(process.file("exe"), judgement);
  const bool loaded = judge_loading(process, judgement);
  judge_namespace(process, daemon, judgement);
  if (loaded) {
    judge_mode(process, judgement);
    judge_attachment(process, daemon, judgement);
    judge_hardening(process, status, judgement);
  }
  return judgement;
}

}  // namespace portpool::check
