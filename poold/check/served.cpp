#include "check/served.h"

#include <fmt/format.h>
#include <unistd.h>

#include <string_view>

#include "base/text.h"
#include "portpool/fallback.h"

namespace portpool::check {
namespace {

// False: the library can never be loaded into what runs now.
bool judge_library(const ProcessFacts& process, Judgement& judgement) {
  const kernel::PreloadState& preload = process.preload;
  if (preload.loaded) {
    judgement.add("library", Answer::yes, "libportpool.so is loaded");
    if (preload.replaced) {
      judgement.add("replaced", Answer::partly,
                    "Its libportpool.so has been replaced or removed since: it runs the old one",
                    fmt::format("restart pid {}", process.who.pid), "replaced");
    }
  } else if (!preload.requested) {
    judgement.add("library", Answer::no,
                  "libportpool.so is not loaded: the process was started without it",
                  "start it again with: poold run -- COMMAND, or with LD_PRELOAD and "
                  "PORTPOOL_SOCKET in its environment",
                  "not_loaded");
  } else {
    judgement.add(
        "library", Answer::no,
        fmt::format("libportpool.so is not loaded, though LD_PRELOAD names {}{}", preload.preload,
                    process.library_is_there ? "" : ", which is not there in its own file system"),
        process.library_is_there
            ? fmt::format("poold check {} (static, set-user-ID, or not readable for its user)",
                          process.who.pid)
            : "put the library into its container or chroot, or correct the path",
        "not_loaded");
  }
  return preload.loaded;
}

// False: it is switched off.
bool judge_mode(const ProcessFacts& process, const DaemonFacts& daemon, Judgement& judgement) {
  const std::string& mode = process.preload.mode;
  constexpr const char* kFix = "start it again without PORTPOOL_MODE";
  if (mode == "observe") {
    judgement.add("mode", Answer::no, "PORTPOOL_MODE=observe: it only records latency", kFix,
                  "observe");
  } else if (!mode.empty() && mode != "pool") {
    judgement.add("mode", Answer::no,
                  fmt::format("PORTPOOL_MODE={} switches the library off", mode), kFix, "off");
    return false;
  } else if (daemon.state == DaemonState::alive && daemon.mode == Mode::observe) {
    judgement.add(
        "mode", Answer::no,
        fmt::format("poold on {} only observes (mode in its configuration)", daemon.socket),
        "mode = \"pool\" in poold's configuration, and SIGHUP", "observe");
  }
  return true;
}

bool is_in_another_namespace(const ProcessFacts& process, const DaemonFacts& daemon) {
  if (process.network_namespace == 0) return false;
  if (daemon.network_namespace != 0) return daemon.network_namespace != process.network_namespace;
  // A daemon that tells this command no more than that it is elsewhere.
  return daemon.elsewhere && process.network_namespace == kernel::namespace_of(::getpid(), "net");
}

std::string start_one(const ProcessFacts& process, const DaemonFacts& daemon) {
  const std::string& own = process.preload.socket;
  if (own.empty()) return "poold serve --socket " + shell_quote(daemon.socket);
  return fmt::format(
      "start a poold at the PORTPOOL_SOCKET of pid {}, or start that program again without "
      "PORTPOOL_SOCKET",
      process.who.pid);
}

void judge_absence(const ProcessFacts& process, const DaemonFacts& daemon, Judgement& judgement) {
  const bool attached = process.preload.structure != 0;
  judgement.add(
      "daemon", Answer::no,
      daemon.file_is_there || attached
          ? fmt::format("no poold listens on {}: its connects take the kernel's path",
                        daemon.socket)
          : fmt::format("no poold listens on {}, which is not there in its file system: its "
                        "connects take the kernel's path",
                        daemon.socket),
      start_one(process, daemon),
      name_of(attached ? FallbackReason::k_stale_heartbeat : FallbackReason::k_no_daemon));
}

void judge_attachment(const ProcessFacts& process, const DaemonFacts& daemon,
                      Judgement& judgement) {
  if (process.preload.structure != 0 && process.preload.structure == daemon.structure) {
    judgement.add("segment", Answer::yes, "It has poold's segment mapped");
  } else if (!daemon.may_connect) {
    judgement.add(
        "permission", Answer::no,
        fmt::format("It may not open {}: its connects take the kernel's path", daemon.socket),
        fmt::format("let its user (uid {}) attach: socket_group in poold's configuration; it tries "
                    "again each second",
                    process.who.user),
        name_of(FallbackReason::k_attach_refused));
  } else if (daemon.structure != 0) {
    judgement.add("segment", Answer::partly,
                  process.preload.structure != 0
                      ? "It has an earlier poold's segment mapped, and attaches to the present one "
                        "with its next connects"
                      : "It has not attached to poold yet, and tries with its next connects",
                  "if it goes on connecting and stays so: PORTPOOL_VERBOSE=1 tells why",
                  "not_attached");
  }
}

void judge_daemon(const ProcessFacts& process, const DaemonFacts& daemon, Judgement& judgement) {
  if (daemon.state == DaemonState::absent) return judge_absence(process, daemon, judgement);
  if (is_in_another_namespace(process, daemon)) {
    judgement.add(
        "network_namespace", Answer::no,
        fmt::format("It is in another network namespace than the poold on {}", daemon.socket),
        fmt::format("run a poold in its own, on another path, and name that in its "
                    "PORTPOOL_SOCKET: nsenter --net --target {} poold serve --socket ...",
                    process.who.pid),
        name_of(FallbackReason::k_other_netns));
  } else if (daemon.state == DaemonState::silent) {
    judgement.add("daemon", Answer::no,
                  fmt::format("poold on {} shows no sign of life (stopped by SIGSTOP, or hanging): "
                              "its connects take the kernel's path",
                              daemon.socket),
                  "poold status says since when; let it go on (SIGCONT), or start it again",
                  name_of(process.preload.structure != 0 ? FallbackReason::k_stale_heartbeat
                                                         : FallbackReason::k_attach_timeout));
  } else if (daemon.state == DaemonState::unknown) {
    judgement.add("daemon", Answer::unknown,
                  fmt::format("Whether poold on {} serves it cannot be seen: {}", daemon.socket,
                              daemon.trouble),
                  "ask as root, or as the daemon's user");
  } else {
    judge_attachment(process, daemon, judgement);
  }
}

}  // namespace

void judge_served(const ProcessFacts& process, const DaemonFacts& daemon, Judgement& judgement) {
  if (!judge_library(process, judgement)) return;
  if (!judge_mode(process, daemon, judgement)) return;
  judge_daemon(process, daemon, judgement);
  if (process.who.filtered) {
    judgement.add(
        "seccomp", Answer::partly,
        "A seccomp filter is in force. If the process has installed it itself, its connects have "
        "taken the kernel's path since then (reason seccomp); if it was there before, it may "
        "forbid what the library does",
        "poold status: the reasons seccomp, pin_failed and attach_failed stay at 0 if all is well; "
        "a filter from outside has to allow the library's calls (docs/connect.md)",
        name_of(FallbackReason::k_seccomp));
  }
}

}  // namespace portpool::check
