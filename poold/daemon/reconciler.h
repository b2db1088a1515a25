// Makes lanes when clients ask for them, and keeps all lanes true to the kernel's socket table.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/turns.h"
#include "kernel/answer.h"
#include "kernel/sock_diag.h"
#include "kernel/sysctl.h"
#include "lanes/lane_table.h"
#include "lanes/rules.h"
#include "lanes/supply.h"
#include "lanes/truth.h"
#include "portpool/segment.h"

namespace portpool {

class Reconciler {
 public:
  // In the network namespace of the calling thread. progress is called now and then during work
  // that may take long. Throws std::system_error where sock_diag is missing, UserError where a
  // setting that lanes rest on cannot be read.
  Reconciler(const StructureWriter& structure, std::vector<PoolRule> rules, Strategy strategy,
             std::function<void()> progress);

  // New rules hold for existing lanes too: clients ask for each of them again.
  void set_rules(std::vector<PoolRule> rules);

  // Answers requests that clients have placed: reads the kernel's table for the lanes that are
  // missing, fills them and publishes them. A request that cannot be served now is dropped; the
  // client's next connect() places it again.
  Turn serve_requests();

  // Looks at lanes that ask for attention (few ports left, or claims refused in a row): port by
  // port where few are in doubt; else the next pass is due early.
  Turn serve_attention();

  // One pass over all lanes.
  void pass();

  // How long until the next pass is due: soon while lanes change, later the more a pass costs, so
  // that passes take a small share of one core; the smallest while every lane has ports to spare,
  // when a hint that is out of date costs a rejection at most. Asked again after serve_attention().
  std::chrono::nanoseconds until_pass() const;

  // Reads sysctls, sources, blocked ports and routes again; every kSettingsPause. What cannot be
  // read stays as it was.
  void read_settings();
  static constexpr std::chrono::milliseconds kSettingsPause{250};

 private:
  struct Pending {
    LaneKey question;
    std::vector<LaneRecord*> lanes;
    std::vector<LaneRecord*> fresh;
    std::uint32_t flags = 0;
    bool refused = false;  // no lane can serve it, however often it is asked
  };
  using Sources = std::vector<Address>;

  Pending plan(const LaneKey& question);
  // Absent: no lane can serve it, for want of a source or of ports.
  kernel::Answer<Sources> sources_for(const LaneKey& question, const PoolRule& rule) const;
  std::uint32_t pool_of(const LaneKey& question) const;
  // Of the pool's lanes, under the settings in force; low > high: it has no port to give.
  kernel::PortRange range_for(const PoolRule& rule) const;
  // The pools that have lost all their ports or got some back since the last call; says so.
  std::vector<std::uint32_t> note_pools_without_ports();
  // Answers in place: lanes that are missing are made and filled first, and a client that looks
  // meanwhile finds the old answer.
  void answer(const std::vector<LaneKey>& questions);
  // Answers those questions again whose answer is no longer the right one: all of these pools.
  void review_answers(const std::vector<std::uint32_t>& pools);
  void review(const std::vector<LaneTable::Answer>& answers,
              const std::function<bool(const LaneKey&)>& concerns);
  bool is_outdated(const LaneTable::Answer& answer) const;
  bool dump_for(const std::vector<LaneRecord*>& records);
  void fill_new(const std::vector<LaneRecord*>& fresh);
  // True when the lane has ports to spare. `truth`: what a complete dump said of the lane, or null
  // where only some of its ports were looked up.
  bool note_supply(const LaneRecord& record, const LaneTruth* truth);
  // What cannot be read now: said when it begins, not at each look. Empty: nothing.
  void complain_once(const std::string& what);
  void read_blocked();
  void refit_lanes();
  void recheck_routes();
  void look_again(const std::vector<LaneRecord*>& records);
  void ask_for(const LaneRecord& record, std::uint16_t port);
  // How many ports were looked up; none when too many are in doubt.
  std::optional<std::size_t> check_port_by_port(LaneRecord& record);
  bool is_out_of_date(const LaneRecord& record) const;
  void warn_rarely(const Endpoint& destination);

  StructureWriter structure_;
  std::vector<PoolRule> rules_;
  Strategy strategy_;
  std::function<void()> progress_;
  LaneTable lanes_;
  kernel::SockDiag sock_diag_;
  kernel::TimeWaitReuse reuse_;
  kernel::PortRange local_range_;
  TruthCollector truth_;
  BlockedPorts blocked_;
  std::chrono::steady_clock::time_point blocked_due_;
  std::chrono::steady_clock::time_point rejected_swept_;
  std::chrono::steady_clock::time_point pass_ended_;
  std::chrono::nanoseconds pass_cost_{0};
  Supply supply_;
  bool complained_ = false;
  std::vector<bool> without_ports_;  // by pool
  bool plenty_ = true;
  unsigned quiet_passes_ = 0;
  std::uint64_t passes_ = 0;
  std::uint64_t places_missing_ = 0;
  std::vector<bool> slots_seen_dead_;
  std::uint32_t requests_from_ = 0;  // the slot that the next turn begins with
  std::size_t attention_from_ = 0;   // the lane, by its place in records()
};

}  // namespace portpool
