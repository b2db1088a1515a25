#include "support/accounts.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iostream>
#include <iterator>

#include "support/guest.h"

namespace portpool::test {
namespace {

using Json = nlohmann::json;
using std::uint64_t;

// Reasons that a process may have counted before it had the segment.
constexpr std::array kWithoutSegment = {"no_daemon",     "attach_refused",  "attach_timeout",
                                        "attach_failed", "layout_mismatch", "segment_invalid",
                                        "other_netns",   "seccomp"};

uint64_t sum_of(const Json& counts, const std::string& prefix = "") {
  uint64_t sum = 0;
  for (const auto& [name, count] : counts.items()) {
    if (name.starts_with(prefix)) sum += count.get<uint64_t>();
  }
  return sum;
}

class Accounts {
 public:
  Accounts(const Json& status, uint64_t cut_off)
      : status_(status), counters_(status.at("counters")), cut_off_(cut_off) {}

  std::vector<std::string> faults() {
    const uint64_t by_pool = sum_of(counters_, "pool_");
    const uint64_t by_kernel = sum_of(counters_, "kernel_");
    between("results of the pool's connects", by_pool, connects("pool"), connects("pool"));
    between("results of the kernel's connects", by_kernel, connects("kernel"),
            connects("kernel") + fallbacks("seccomp"));

    const uint64_t reasons = sum_of(status_.at("fallbacks")) + counter("passthrough_own_port");
    uint64_t before = 0;
    for (const char* reason : kWithoutSegment) before += fallbacks(reason);
    between("connects by the kernel, of those with a reason", by_kernel, reasons - before,
            reasons + watched());

    if (claims_are_known()) {
      between("ports given back, of those claimed",
              counter("released_free") + counter("released_quarantine"), 0,
              by_pool - counter("failed_fast") + counter("ports_promised"));
    }
    for (const Json& lane : status_.at("lanes")) check_lane(lane);
    return faults_;
  }

 private:
  uint64_t counter(const std::string& name) const { return counters_.at(name).get<uint64_t>(); }
  uint64_t connects(const char* path) const {
    return status_.at("connects").at(path).get<uint64_t>();
  }
  uint64_t fallbacks(const char* reason) const {
    return status_.at("fallbacks").value(reason, uint64_t{0});
  }
  uint64_t watched() const {
    uint64_t sum = 0;
    for (const Json& row : status_.at("latency")) {
      if (row.at("arm") == "kernel") sum += row.at("count").get<uint64_t>();
    }
    return sum;
  }
  bool claims_are_known() const {
    return status_.at("strategy") == "port-range" && fallbacks("source_failed") == 0 &&
           fallbacks("pin_failed") == 0;
  }
  void check_lane(const Json& lane) {
    const auto number = [&](const char* field) { return lane.at(field).get<uint64_t>(); };
    const uint64_t ports =
        number("in_use") + number("quarantined") + number("blocked") + number("free");
    if (ports == number("capacity")) return;
    faults_.push_back("ports of a lane: " + lane.dump());
  }
  void between(const std::string& what, uint64_t count, uint64_t least, uint64_t most) {
    if (count + cut_off_ >= least && count <= most + cut_off_) return;
    faults_.push_back(what + ": " + std::to_string(count) + ", not " + std::to_string(least) +
                      (least == most ? "" : " to " + std::to_string(most)));
  }

  const Json& status_;
  const Json& counters_;
  const uint64_t cut_off_;
  std::vector<std::string> faults_;
};

}  // namespace

std::vector<std::string> account_faults(const Json& status, uint64_t cut_off) {
  return Accounts(status, cut_off).faults();
}

// CUT-OFF: of the status on its standard input. For tests in other languages.
GUEST(support_accounts) {
  const std::vector<std::string> faults =
      account_faults(Json::parse(std::cin), std::stoull(arguments.at(0)));
  for (const std::string& fault : faults) say(fault);
  CHECK_THAT(faults.empty());
}

}  // namespace portpool::test
