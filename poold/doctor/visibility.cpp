// What this look could not see.
#include <fmt/format.h>
#include <unistd.h>

#include "doctor/checks.h"

namespace portpool::doctor {

Check check_visibility(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  const Ownership& owners = facts.owners;
  Check check;
  check.evidence = {{"sockets", facts.census->sockets},
                    {"complete", facts.census->complete},
                    {"processes_not_read", owners.scan.unreadable},
                    {"connections_without_process", owners.unattributed},
                    {"took_ms", facts.took_ms}};
  const std::string unread = fmt::format(
      "{} not read",
      counted(owners.scan.unreadable, "process of another user", "processes of other users"));
  check.summary =
      fmt::format("{} read in {:.0f} ms",
                  counted(facts.census->sockets, "TCP socket", "TCP sockets"), facts.took_ms);
  if (!facts.census->complete) {
    check.status = Status::unknown;
    check.summary += "; the kernel's list broke off, so that all counts are lower bounds";
    check.fix = "run it again";
  }
  if (!owners.scan.proc_mounted) {
    check.status = Status::unknown;
    check.summary += "; /proc cannot be read, so that no process can be named";
    check.fix = "mount -t proc proc /proc";
  } else if (owners.unattributed > 0) {
    if (owners.unattributed >= kManyConnections) check.status = Status::unknown;
    check.summary +=
        fmt::format("; who holds {} cannot be known",
                    counted(owners.unattributed, "outgoing connection", "outgoing connections"));
    if (owners.scan.unreadable > 0) check.summary += ": " + unread;
    if (check.status != Status::ok) {
      check.fix = geteuid() != 0 ? "run as root: sudo poold doctor"
                                 : "run in the host's pid namespace, with CAP_SYS_PTRACE";
    }
  } else if (owners.scan.unreadable > 0) {
    check.summary += "; " + unread + ", none with an outgoing connection";
  }
  return check;
}

}  // namespace portpool::doctor
