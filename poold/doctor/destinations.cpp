// Which destinations run out of source ports.
#include <fmt/format.h>

#include "doctor/checks.h"
#include "doctor/outlook.h"

namespace portpool::doctor {
namespace {

constexpr std::size_t kShown = 10;
constexpr std::size_t kExamined =
    100;  // the fullest lanes; the cost is one pass over the sockets each

struct Judged {
  const Lane* lane;
  Outlook outlook;
  std::vector<Share> shares;
  bool shimmed;
  Status status;
};

Judged judge(const Facts& facts, std::uint32_t index) {
  const Census& census = *facts.census;
  const Lane& lane = census.lanes[index];
  Judged judged{&lane, outlook_of(lane, census.plan, facts.settings.reuse), {}, false, {}};
  judged.status = status_of(judged.outlook);
  if (judged.status == Status::ok) return judged;
  judged.shares = shares_of_lane(census, facts.owners, index);
  judged.shimmed = is_shimmed(judged.shares, facts.owners);
  if (judged.shimmed && judged.outlook.stage != Stage::exhausted) judged.status = Status::ok;
  return judged;
}

std::string sentence(const Judged& judged) {
  const Outlook& o = judged.outlook;
  const std::string head = fmt::format("{}: {} of {} source ports in use", lane_text(*judged.lane),
                                       count_text(o.used), count_text(o.used + o.free));
  if (o.stage == Stage::exhausted) {
    return o.free == 0 ? head + "; connect() there fails with EADDRNOTAVAIL"
                       : fmt::format("{}; only {} left before connect() fails with EADDRNOTAVAIL",
                                     head, count_text(o.free));
  }
  if (judged.status == Status::unknown) return head + "; " + doubt_text(*judged.lane);
  if (judged.shimmed) return head + " by programs under libportpool.so, which do not search";
  switch (o.stage) {
    case Stage::past_cliff:
      return fmt::format(
          "{}; the half that connect() searches first is full (cliff at {}): it is slow", head,
          count_text(o.cliff_at));
    case Stage::near_cliff:
      return fmt::format("{}; {} more and each connect() becomes slow (cliff at {})", head,
                         count_text(o.to_cliff), count_text(o.cliff_at));
    case Stage::heading:
      return fmt::format(
          "{}, but {:.0f} connections/s end there, for which TIME-WAIT will hold {} "
          "(cliff at {})",
          head, o.ends_per_s, count_text(o.settles_at), count_text(o.cliff_at));
    default:
      return fmt::format("{} ({}), {} before the cliff", head, percent(o.used, o.used + o.free),
                         count_text(o.to_cliff));
  }
}

std::vector<std::string> particulars(const Judged& judged) {
  std::vector<std::string> lines{"states: " + states_text(judged.lane->states)};
  if (!judged.shares.empty()) lines.push_back("held by: " + shares_text(judged.shares));
  const Outlook& o = judged.outlook;
  std::string rate = "sustainable there: " + sustainable_text(o);
  if (o.ends_per_s > 0) rate += fmt::format("; {:.0f}/s end at present", o.ends_per_s);
  lines.push_back(rate);
  return lines;
}

}  // namespace

Check check_destinations(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  const Census& census = *facts.census;
  if (census.plan.usable == 0) {
    Check check;
    check.status = Status::fail;
    check.summary = fmt::format(
        "no port of {}-{} can be chosen: {} reserved, {} bound or listened "
        "on; every connect() fails",
        census.plan.range.low, census.plan.range.high, count_text(census.plan.reserved),
        count_text(census.plan.taken));
    check.evidence = {
        {"usable", 0}, {"reserved", census.plan.reserved}, {"taken", census.plan.taken}};
    const std::string widen = widen_command(census);
    if (census.plan.taken > census.plan.reserved) {
      check.fix = "end the process that bound-sockets names";
      if (!widen.empty()) check.fix += "; until then: " + widen;
    } else {
      check.fix = widen.empty() ? "free ports of ip_local_reserved_ports" : widen;
    }
    return check;
  }
  std::vector<Judged> judged;
  for (std::uint32_t i = 0; i < census.lanes.size() && i < kExamined; ++i) {
    judged.push_back(judge(facts, i));
  }
  std::stable_sort(judged.begin(), judged.end(), [](const Judged& a, const Judged& b) {
    return a.status != b.status ? a.status > b.status : a.outlook.stage > b.outlook.stage;
  });
  Check check;
  check.tells_when_ok = true;
  check.evidence["destinations"] = Json::array();
  check.evidence["count"] = census.lanes.size();
  if (judged.empty()) {
    check.summary =
        fmt::format("no outgoing connection; {} ports for each destination, cliff at {}",
                    count_text(census.plan.usable), count_text(census.plan.first));
    return check;
  }
  const Judged& worst = judged.front();
  check.status = worst.status;
  check.summary = sentence(worst);
  check.lines = particulars(worst);
  std::size_t wrong = 0;
  for (const Judged& one : judged) {
    if (one.status != Status::ok && &one != &worst && ++wrong < kShown) {
      check.lines.push_back("also " + sentence(one));
    }
    if (check.evidence["destinations"].size() < kShown) {
      check.evidence["destinations"].push_back(lane_evidence(*one.lane, one.outlook, one.shares));
    }
  }
  if (wrong >= kShown) check.lines.push_back(fmt::format("and {} more", wrong - kShown + 1));
  if (worst.status != Status::ok) {
    check.fix = lane_fix(facts, *worst.lane, worst.outlook, worst.shares);
  }
  return check;
}

}  // namespace portpool::doctor
