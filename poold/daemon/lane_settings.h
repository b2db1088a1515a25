// What lanes rest on besides the kernel's sockets: the configured pools, the sources that they
// name, and the kernel's settings. What cannot be read stays as it was.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/answer.h"
#include "kernel/sysctl.h"
#include "lanes/rules.h"
#include "lanes/segment.h"
#include "portpool/segment.h"

namespace portpool {

class LaneSettings {
 public:
  using Sources = std::vector<Address>;

  // Throws UserError where a setting that lanes rest on cannot be read. Nothing is in force before
  // the first read().
  LaneSettings(const StructureWriter& structure, std::vector<PoolRule> rules, Strategy strategy);

  void set_rules(std::vector<PoolRule> rules);

  struct Changes {
    std::vector<std::uint32_t> sources;  // of these pools
    bool range = false;                  // the kernel's
  };
  // Reads the kernel's settings and addresses again, and says so when that is not possible.
  Changes read();

  const kernel::TimeWaitReuse& reuse() const { return reuse_; }
  // Reserved ports are closed to pins alone.
  bool reserved_are_blocked() const { return strategy_ == Strategy::port_range; }
  // Another one when rules have been set.
  std::uint64_t version() const { return version_; }

  std::uint32_t pool_of(const LaneKey& question) const;
  const PoolRule& rule(std::uint32_t pool) const { return rules_[pool]; }
  // With the bind strategy: its ports are such that the kernel gives to other programs too.
  bool is_exposed(std::uint32_t pool) const;
  // Of the pool's lanes; low > high: it has no port to give.
  kernel::PortRange range_of(std::uint32_t pool) const;
  // Absent: no lane can serve it, for want of a source or of ports, or since none is wanted.
  kernel::Answer<Sources> sources_for(const LaneKey& question, std::uint32_t pool) const;
  // Where they are absent: the EntryFlags that say why; 0 for no ports and no route.
  std::uint32_t why_absent(const LaneKey& question, std::uint32_t pool) const;

  // What keeps a pool from serving as configured; "": nothing.
  std::string trouble() const;

  // The pools that have lost all their ports or got some back since the last call; says so.
  std::vector<std::uint32_t> note_pools_without_ports();

 private:
  // Those that the pool names for destinations of this kind, whether or not they are here.
  static bool names_sources_for(const PoolRule& rule, const Address& destination);
  // Said when it begins, not at each look. Empty: nothing.
  void complain_once(const std::string& what);

  StructureWriter structure_;
  std::vector<PoolRule> rules_;
  Strategy strategy_;
  std::uint64_t version_ = 0;
  kernel::TimeWaitReuse reuse_;
  kernel::PortRange local_range_;
  std::vector<kernel::PortRange> reserved_;  // with the bind strategy
  std::vector<bool> without_ports_;          // by pool
  bool complained_ = false;
};

}  // namespace portpool
