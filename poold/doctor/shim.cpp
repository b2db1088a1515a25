// Is libportpool.so loaded where it was meant to be, and what the kernel offers it.
#include <fmt/format.h>

#include "check/served.h"
#include "doctor/checks.h"

namespace portpool::doctor {
namespace {

struct Found {
  Status status = Status::ok;
  std::string sentence;
  std::string fix;
};

Found judge(const Facts& facts, const BusyProcess& process) {
  const kernel::PreloadState& preload = process.process->preload;
  const std::string who = fmt::format("{} (pid {}, {} outgoing connections)", process.name,
                                      process.pid, count_text(process.outgoing));
  if (!preload.loaded && preload.requested) {
    return {Status::fail, who + " asks for libportpool.so in LD_PRELOAD, but it is not loaded",
            fmt::format("poold check {} (static, set-user-ID, or the path is wrong)", process.pid)};
  }
  if (!preload.loaded) {
    if (facts.daemon.state == check::DaemonState::absent || facts.daemon.elsewhere) return {};
    return {Status::warn, "a poold runs, but " + who + " is not under libportpool.so",
            "start it again with LD_PRELOAD=.../libportpool.so, after: poold check " +
                std::to_string(process.pid)};
  }
  check::Judgement judgement;
  check::judge_served(*process.process, process.daemon, judgement);
  const check::Finding* reason = judgement.reason();
  // That there is a filter says nothing yet: what it does is counted (reason seccomp).
  if (reason == nullptr || reason->name == "seccomp") return {};
  return {reason->answer == check::Answer::unknown ? Status::unknown : Status::warn,
          fmt::format("{} is under libportpool.so, but not served well: {}", who, reason->text),
          reason->fix};
}

}  // namespace

Check check_shim(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  Check check;
  check.evidence = {{"daemon_socket", facts.daemon.socket},
                    {"daemon_listens", facts.daemon.state != check::DaemonState::absent},
                    {"daemon_alive", facts.daemon.state == check::DaemonState::alive},
                    {"processes", Json::array()}};
  std::size_t loaded = 0;
  std::size_t unknown = 0;
  for (const BusyProcess& process : facts.owners.busy) {
    if (!process.process) {
      ++unknown;
      continue;
    }
    const kernel::PreloadState& preload = process.process->preload;
    if (preload.loaded) ++loaded;
    check.evidence["processes"].push_back({{"pid", process.pid},
                                           {"process", process.name},
                                           {"outgoing", process.outgoing},
                                           {"loaded", preload.loaded},
                                           {"requested", preload.requested}});
    const Found finding = judge(facts, process);
    if (finding.status == Status::ok) continue;
    if (finding.status > check.status) {
      if (!check.summary.empty()) check.lines.push_back("also " + check.summary);
      check.status = finding.status;
      check.summary = finding.sentence;
      check.fix = finding.fix;
    } else {
      check.lines.push_back("also " + finding.sentence);
    }
  }
  if (check.status != Status::ok) return check;
  if (unknown > 0 || facts.owners.unattributed >= kManyConnections) {
    check.status = Status::unknown;
    check.summary = fmt::format(
        "cannot be known here: {} outgoing connections belong to processes that "
        "cannot be seen; run as root",
        count_text(facts.owners.unattributed));
    check.fix = "sudo poold doctor";
  } else if (loaded > 0) {
    check.summary =
        fmt::format("{} with many outgoing connections under libportpool.so, with a poold",
                    counted(loaded, "process", "processes"));
  } else {
    check.summary = fmt::format(
        "no process with {} or more outgoing connections was meant to be under "
        "libportpool.so",
        kManyConnections);
  }
  return check;
}

Check check_kernel_features(const Facts& facts) {
  const kernel::KernelFeatures& found = facts.features;
  Check check;
  check.evidence = {{"release", found.release},
                    {"IP_LOCAL_PORT_RANGE", found.local_port_range},
                    {"IP_BIND_ADDRESS_NO_PORT", found.bind_address_no_port},
                    {"SO_NETNS_COOKIE", found.netns_cookie},
                    {"MPTCP", found.mptcp},
                    {"bound_inactive_listing", found.bound_inactive_listing}};
  check.summary = fmt::format("Linux {}: ", found.release);
  if (found.local_port_range && found.bind_address_no_port) {
    check.summary += "libportpool.so can pin ports and defer binds";
    return check;
  }
  check.status = Status::warn;
  check.summary += !found.local_port_range
                       ? "no IP_LOCAL_PORT_RANGE (6.3), by which libportpool.so pins a port"
                       : "no IP_BIND_ADDRESS_NO_PORT (4.2), by which libportpool.so defers binds";
  check.fix = "Linux 6.3 or newer; in a container, allow these socket options (seccomp)";
  return check;
}

}  // namespace portpool::doctor
