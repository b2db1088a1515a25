// Lanes that ask for attention: few ports left, or claims refused in a row.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "daemon/lane_work.h"
#include "daemon/turns.h"

namespace portpool {

class Attention {
 public:
  // needs_pass: called for a lane that only a pass can set right. rewritten: for one that a program
  // has reported.
  Attention(LaneWork& work, std::function<void()> needs_pass,
            std::function<void(const LaneRecord&)> rewritten)
      : work_(work), needs_pass_(std::move(needs_pass)), rewritten_(std::move(rewritten)) {}

  // Looks at some of those lanes, port by port where few are in doubt; at most a twentieth of a
  // core in the long run.
  Turn serve();

 private:
  void look_at(LaneRecord& record);
  // How many ports were looked up; none when too many are in doubt.
  std::optional<std::size_t> check_port_by_port(LaneRecord& record);
  bool is_out_of_date(const LaneRecord& record) const;

  LaneWork& work_;
  std::function<void()> needs_pass_;
  std::function<void(const LaneRecord&)> rewritten_;
  TruthCollector truth_;
  std::uint32_t from_ = 0;  // the place that the next turn begins with
  std::size_t lookups_ = 0;
};

}  // namespace portpool
