// Whether connects under the library go wrong now, and since when: by the daemon's record.
#include <fmt/format.h>

#include "doctor/checks.h"

namespace portpool::doctor {
namespace {

std::string since_text(const ConnectTrouble& trouble) {
  return trouble.longer ? fmt::format("for {} at least (the record begins at {})", trouble.lasted,
                                      trouble.since)
                        : fmt::format("since {}, {} ago", trouble.since, trouble.lasted);
}

Json as_evidence(const ConnectTrouble& trouble) {
  return {{"since", trouble.since},       {"lasted", trouble.lasted},
          {"longer", trouble.longer},     {"affected", trouble.affected},
          {"connects", trouble.connects}, {"reason", trouble.reason}};
}

std::string missed_text(const ConnectTrouble& trouble) {
  std::string text = fmt::format("{}: {} of {} on the kernel's path", since_text(trouble),
                                 percent(trouble.affected, trouble.connects),
                                 counted(trouble.connects, "connect", "connects"));
  if (!trouble.reason.empty()) text += fmt::format(", mostly because of {}", trouble.reason);
  return text;
}

}  // namespace

Check check_connects(const Facts& facts) {
  if (!facts.record) return no_daemon("record");
  Check check;
  const ConnectRecord& record = *facts.record;
  check.evidence = {{"record_begins", record.from}};
  if (record.missed) {
    check.status = Status::warn;
    check.summary = missed_text(*record.missed);
    check.evidence["missed"] = as_evidence(*record.missed);
    if (!record.missed->reason.empty()) check.fix = "poold explain " + record.missed->reason;
  }
  if (record.no_port) {
    const std::string text =
        fmt::format("{}: {} of {} failed with EADDRNOTAVAIL", since_text(*record.no_port),
                    percent(record.no_port->affected, record.no_port->connects),
                    counted(record.no_port->connects, "connect", "connects"));
    check.status = Status::fail;
    check.summary = check.summary.empty() ? text : text + "; " + check.summary;
    check.evidence["no_port"] = as_evidence(*record.no_port);
    if (check.fix.empty()) check.fix = "poold explain lane_full";
  }
  if (check.summary.empty()) {
    check.summary =
        record.from.empty()
            ? "the record has just begun"
            : fmt::format("nothing goes wrong now, by a record that begins at {}", record.from);
  } else {
    check.lines.push_back("poold status --since 1h shows what happened when");
  }
  return check;
}

}  // namespace portpool::doctor
