// How one lane stands and what will become of it.
#pragma once

#include "doctor/check.h"
#include "doctor/facts.h"

namespace portpool::doctor {

enum class Stage {
  calm,
  heading,     // at the present rate TIME_WAIT alone will reach the cliff
  near_cliff,  // four fifths of the ports that are tried first are held
  past_cliff,  // all of them are: each connect() searches that half in vain first
  exhausted,   // hardly a port is left, or none
};

struct Outlook {
  Stage stage = Stage::calm;
  // Where the far side may be without timestamps: the stage if it is. Else the same as `stage`.
  Stage stage_without_reuse = Stage::calm;
  std::uint32_t used = 0;      // usable ports held
  std::uint32_t free = 0;      // usable ports left
  std::uint32_t cliff_at = 0;  // where connect() becomes slow, in ports held
  std::uint32_t to_cliff = 0;
  bool has_cliff = true;         // false: the range is so small that searching it costs nothing
  double waits_s = 0;            // how long a port stays unusable after its connection
  double ends_per_s = 0;         // connections that have ended with our TIME_WAIT, of late
  std::uint32_t turning = 0;     // usable ports that no standing connection holds
  double sustainable_per_s = 0;  // connections/s at which TIME_WAIT would use all of those up
  std::uint32_t settles_at = 0;  // ports held once TIME_WAIT is in balance with ends_per_s
};

Outlook outlook_of(const Lane& lane, const PortPlan& plan, const kernel::TimeWaitReuse& reuse);

Status status_of(Stage stage);
// Unknown where nothing is wrong only if the far side has timestamps, and that cannot be seen.
Status status_of(const Outlook& outlook);

// Whether processes under the library hold nearly all of the lane: the cliff is not for them.
bool is_shimmed(const std::vector<Share>& shares, const Ownership& owners);

// What to do, by the state that most of the ports are in.
std::string lane_fix(const Facts& facts, const Lane& lane, const Outlook& outlook,
                     const std::vector<Share>& shares);

// "1,000 new connections/s (1,000 ports / 1 s)"
std::string sustainable_text(const Outlook& outlook);

// What is not known about a lane whose status is unknown, a part of a sentence.
std::string doubt_text(const Lane& lane);

// "10.0.0.5 -> 10.0.4.7:443"
std::string lane_text(const Lane& lane);
Json lane_evidence(const Lane& lane, const Outlook& outlook, const std::vector<Share>& shares);

// "sysctl -w net.ipv4.ip_local_port_range=...", as wide as this host's listeners allow; empty when
// it is as wide already.
std::string widen_command(const Census& census);

}  // namespace portpool::doctor
