// The settings that recipes against TIME_WAIT tell people to change, and what they do here.
#include <fmt/format.h>

#include "base/text.h"
#include "doctor/checks.h"

namespace portpool::doctor {

Check check_time_wait_reuse(const Facts& facts) {
  const Settings& settings = facts.settings;
  if (!settings.tw_reuse) return not_known("net.ipv4.tcp_tw_reuse cannot be read");
  const std::uint32_t age = settings.reuse.min_age_ms;
  Check check;
  check.evidence = {{"tcp_tw_reuse", *settings.tw_reuse},
                    {"tcp_tw_reuse_delay_ms",
                     settings.tw_reuse_delay ? Json(*settings.tw_reuse_delay) : Json(nullptr)},
                    {"reuse_after_ms", age},
                    {"effective", settings.reuse.mode}};
  const std::string after = fmt::format("after {:g} s", age / 1000.0);
  switch (*settings.tw_reuse) {
    case 0:
      check.summary = "tcp_tw_reuse=0: an outgoing connection's port comes back after 60 s";
      break;
    case 1:
      check.summary = "tcp_tw_reuse=1: connect() takes over a port in TIME-WAIT " + after;
      break;
    default:
      check.summary = fmt::format(
          "tcp_tw_reuse={}: on loopback connect() takes over a port in TIME-WAIT "
          "{}, elsewhere it comes back after 60 s",
          *settings.tw_reuse, after);
  }
  constexpr std::uint32_t kSafe = 1000;  // one tick of the timestamps that tell old packets apart
  if (*settings.tw_reuse != 0 && age < kSafe) {
    check.status = Status::warn;
    check.summary += "; so soon, late packets can be taken for new ones";
    check.fix = "sysctl -w net.ipv4.tcp_tw_reuse_delay=1000";
  }
  return check;
}

Check check_timestamps(const Facts& facts) {
  const Settings& settings = facts.settings;
  if (!settings.timestamps) return not_known("net.ipv4.tcp_timestamps cannot be read");
  Check check;
  check.evidence = {{"tcp_timestamps", *settings.timestamps}};
  if (*settings.timestamps != 0) {
    check.summary =
        fmt::format("tcp_timestamps={}: on; tcp_tw_reuse can work where the peer has them too",
                    *settings.timestamps);
    return check;
  }
  check.status = Status::warn;
  check.summary = "tcp_timestamps=0: tcp_tw_reuse has no effect, each port waits 60 s after use";
  check.fix = "sysctl -w net.ipv4.tcp_timestamps=1";
  return check;
}

Check check_time_wait_recycling(const Facts& facts) {
  const auto value = facts.settings.tw_recycle;
  Check check;
  check.evidence = {{"tcp_tw_recycle", value ? Json(*value) : Json(nullptr)},
                    {"configured", Json::array()}};
  std::string first;
  for (const ConfiguredSetting& setting : facts.configured) {
    if (setting.name != "net.ipv4.tcp_tw_recycle") continue;
    const std::string where = fmt::format("{}:{}", setting.file, setting.line);
    check.evidence["configured"].push_back({{"where", where}, {"value", setting.value}});
    check.lines.push_back(where + " sets it to " + setting.value);
    if (first.empty()) first = setting.file;
  }
  const std::string remove =
      first.empty() ? "" : fmt::format("sed -i '/tcp_tw_recycle/d' {}", shell_quote(first));
  if (value.value_or(0) != 0) {
    check.status = Status::fail;
    check.summary = "tcp_tw_recycle=1: drops connections of clients that share an address (NAT)";
    check.fix = "sysctl -w net.ipv4.tcp_tw_recycle=0" + (remove.empty() ? "" : "; " + remove);
  } else if (!first.empty()) {
    check.status = Status::warn;
    check.summary = value
                        ? "tcp_tw_recycle=0, but a file sets it at the next boot"
                        : "a file sets tcp_tw_recycle, which this kernel does not have (gone since "
                          "4.12): the line does nothing but fail";
    check.fix = remove + "; tcp_tw_reuse=1 is what helps outgoing connections";
  } else {
    check.summary =
        value ? "tcp_tw_recycle=0: right" : "this kernel has no tcp_tw_recycle (gone since 4.12)";
  }
  return check;
}

Check check_fin_timeout(const Facts& facts) {
  const auto value = facts.settings.fin_timeout;
  if (!value) return not_known("net.ipv4.tcp_fin_timeout cannot be read");
  constexpr long kDefault = 60;
  constexpr long kShort = 15;
  Check check;
  check.evidence = {{"tcp_fin_timeout", *value}};
  check.summary =
      fmt::format("tcp_fin_timeout={}: how long an orphan in FIN-WAIT-2 is kept", *value);
  if (*value == kDefault) {
    check.summary += "; it does not shorten TIME-WAIT";
    return check;
  }
  if (*value < kShort) {
    check.status = Status::warn;
    check.summary += ", so slow peers get a reset; TIME-WAIT stays 60 s whatever this says";
  } else if (*value > kDefault) {
    check.status = Status::warn;
    check.summary += ", and beyond 60 s as a full socket with its port";
  } else {
    check.summary += "; TIME-WAIT stays 60 s whatever this says";
    return check;
  }
  check.fix =
      "sysctl -w net.ipv4.tcp_fin_timeout=60  # for TIME-WAIT use tcp_tw_reuse=1 or keep-alive";
  return check;
}

}  // namespace portpool::doctor
