// Checks on facts made by hand: what no private namespace can have.
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include "doctor/checks.h"
#include "doctor/outlook.h"
#include "doctor/persistence.h"
#include "doctor/report.h"

namespace portpool::doctor {
namespace {

Address v4(std::uint32_t address) { return address_from_v4({htonl(address)}); }

// A host with nothing to complain about, on a port range of 10,000.
Facts healthy() {
  Facts facts;
  facts.features.local_port_range = facts.features.bind_address_no_port = true;
  facts.features.bound_inactive_listing = true;
  facts.settings.range = kernel::PortRange{20000, 29999};
  facts.settings.tw_reuse = 2;
  facts.settings.timestamps = 1;
  facts.settings.fin_timeout = 60;
  facts.settings.max_tw_buckets = 262144;
  facts.settings.max_orphans = 65536;
  facts.settings.reuse = {.mode = 2, .min_age_ms = 1000};
  facts.statistics = kernel::SocketStatistics{};
  Census census;
  census.complete = census.bound_listed = true;
  census.plan = make_plan(*facts.settings.range, {}, {});
  facts.census = census;
  return facts;
}

Lane lane(std::uint32_t held, std::uint32_t held_first) {
  Lane made;
  made.source = v4(0x0A000001);
  made.destination = {v4(0x0A000002), 443};
  made.held = held;
  made.held_first = held_first;
  made.sockets = made.states[TCP_ESTABLISHED] = held;
  return made;
}

bool mentions(const std::string& text, const std::string& word) {
  return text.find(word) != std::string::npos;
}

TEST(Judgement, HealthyHost) {
  for (const Check& check : run_checks(healthy())) {
    EXPECT_EQ(check.status, Status::ok) << check.name << ": " << check.summary;
    EXPECT_EQ(check.fix, "") << check.name;
  }
}

TEST(Judgement, NothingCanBeRead) {
  for (const Check& check : run_checks(Facts{})) {
    EXPECT_NE(check.status, Status::fail) << check.name << ": " << check.summary;
    if (check.status == Status::unknown) {
      EXPECT_TRUE(mentions(check.summary, "cannot be known here: ")) << check.summary;
    }
  }
}

TEST(Judgement, BoundSocketsThatTheKernelDoesNotList) {
  Facts facts = healthy();
  facts.census->bound_listed = false;
  facts.statistics = kernel::SocketStatistics{100, 0, 0, 140};
  Check check = check_bound_sockets(facts);
  EXPECT_EQ(check.status, Status::ok);
  EXPECT_TRUE(mentions(check.summary, "at most 40")) << check.summary;
  facts.statistics->allocated = 41'000;
  check = check_bound_sockets(facts);
  EXPECT_EQ(check.status, Status::unknown);
  EXPECT_TRUE(mentions(check.summary, "40,900")) << check.summary;
  facts.statistics.reset();
  EXPECT_EQ(check_bound_sockets(facts).status, Status::unknown);
}

TEST(Judgement, Orphans) {
  Facts facts = healthy();
  facts.statistics->orphans = 16'000;
  EXPECT_EQ(check_orphans(facts).status, Status::ok);
  facts.statistics->orphans = 17'000;
  EXPECT_EQ(check_orphans(facts).status, Status::warn);
  facts.statistics->orphans = 65'506;
  const Check check = check_orphans(facts);
  EXPECT_EQ(check.status, Status::fail);
  EXPECT_TRUE(mentions(check.summary, "65,506 of at most 65,536")) << check.summary;
  facts.settings.max_orphans.reset();
  EXPECT_EQ(check_orphans(facts).status, Status::unknown);
  facts.statistics->orphans = 10;
  EXPECT_EQ(check_orphans(facts).status, Status::ok);
}

TEST(Judgement, OrphansThatWereReset) {
  Facts facts = healthy();
  facts.counters["TCPAbortOnMemory"] = 12;
  EXPECT_EQ(check_orphans(facts).status, Status::warn);
  facts.earlier = facts.counters;
  EXPECT_EQ(check_orphans(facts).status, Status::ok);
  facts.counters["TCPAbortOnMemory"] = 15;
  EXPECT_TRUE(mentions(check_orphans(facts).summary, "3 connections"));
}

TEST(Judgement, LaneTable) {
  Facts facts = healthy();
  EXPECT_EQ(check_lane_table(facts).status, Status::ok) << "no daemon is no fault of its table";
  facts.lane_table = LaneTableState{1024, 1023, 5, {}};
  EXPECT_EQ(check_lane_table(facts).status, Status::ok);
  facts.lane_table->in_service = 1024;
  const Check check = check_lane_table(facts);
  EXPECT_EQ(check.status, Status::warn);
  EXPECT_TRUE(mentions(check.summary, "1,024 of 1,024")) << check.summary;
  EXPECT_TRUE(mentions(check.fix, "max_lanes")) << check.fix;
  facts.lane_table = LaneTableState{1024, 3, 5, {"10.0.0.1:80", "10.0.0.2:80"}};
  const Check rewritten = check_lane_table(facts);
  EXPECT_EQ(rewritten.status, Status::ok);
  ASSERT_EQ(rewritten.lines.size(), 1U);
  EXPECT_TRUE(mentions(rewritten.lines[0], "2 destinations are rewritten on the way"));
  EXPECT_TRUE(mentions(rewritten.lines[0], "10.0.0.1:80"));
  facts.lane_table = LaneTableState{16384, 16384, 5, {}};
  EXPECT_FALSE(mentions(check_lane_table(facts).fix, "max_lanes"));
}

TEST(Judgement, ConnectsThatGoWrongNow) {
  Facts facts = healthy();
  EXPECT_EQ(check_connects(facts).status, Status::ok) << "no daemon is no fault of its programs";
  facts.record = ConnectRecord{{}, {}, "10:00:00"};
  EXPECT_EQ(check_connects(facts).status, Status::ok);
  facts.record->missed = ConnectTrouble{"10:32:05", "14m03s", false, 400, 1000, "no_lane"};
  const Check missed = check_connects(facts);
  EXPECT_EQ(missed.status, Status::warn);
  EXPECT_EQ(missed.summary,
            "since 10:32:05, 14m03s ago: 40.0 % of 1,000 connects on the kernel's path, mostly "
            "because of no_lane");
  EXPECT_EQ(missed.fix, "poold explain no_lane");
  facts.record->no_port = ConnectTrouble{"10:30:00", "16m08s", true, 50, 2000, ""};
  const Check failed = check_connects(facts);
  EXPECT_EQ(failed.status, Status::fail);
  EXPECT_TRUE(mentions(failed.summary,
                       "for 16m08s at least (the record begins at 10:30:00): 2.5 % "
                       "of 2,000 connects failed with EADDRNOTAVAIL; since"))
      << failed.summary;
  EXPECT_EQ(failed.evidence.at("no_port").at("affected"), 50);
}

TEST(Judgement, ConnectionTracking) {
  Facts facts = healthy();
  facts.census->lanes.push_back(lane(12, 12));
  facts.conntrack = kernel::Conntrack{1000, 262144, 0, 0};
  EXPECT_EQ(check_conntrack(facts).status, Status::ok);
  facts.conntrack->entries = 220'000;
  EXPECT_EQ(check_conntrack(facts).status, Status::warn);
  facts.conntrack->entries = 262'144;
  Check check = check_conntrack(facts);
  EXPECT_EQ(check.status, Status::fail);
  EXPECT_TRUE(mentions(check.summary, "262,144 of 262,144")) << check.summary;
  ASSERT_EQ(check.lines.size(), 1U);
  EXPECT_TRUE(mentions(check.lines[0], "not local ports")) << check.lines[0];
  EXPECT_TRUE(mentions(check.fix, "nf_conntrack_max=524288")) << check.fix;
  facts.census->lanes[0] = lane(9990, 5000);
  EXPECT_TRUE(check_conntrack(facts).lines.empty());
  facts.conntrack = kernel::Conntrack{1000, 262144, 7, 5};
  check = check_conntrack(facts);
  EXPECT_EQ(check.status, Status::warn);
  EXPECT_TRUE(mentions(check.summary, "5 packets were dropped")) << check.summary;
}

TEST(Judgement, OldKernelThatRecycles) {
  Facts facts = healthy();
  facts.settings.tw_recycle = 0;
  EXPECT_EQ(check_time_wait_recycling(facts).status, Status::ok);
  facts.settings.tw_recycle = 1;
  const Check check = check_time_wait_recycling(facts);
  EXPECT_EQ(check.status, Status::fail);
  EXPECT_EQ(check.fix, "sysctl -w net.ipv4.tcp_tw_recycle=0");
}

TEST(Judgement, NamesInACommandAreQuoted) {
  Facts facts = healthy();
  facts.configured = {{"/etc/sysctl.d/a b;reboot.conf", 1, "net.ipv4.tcp_tw_recycle", "1"}};
  EXPECT_TRUE(mentions(check_time_wait_recycling(facts).fix,
                       "sed -i '/tcp_tw_recycle/d' '/etc/sysctl.d/a b;reboot.conf'"));
  BusyProcess busy{};
  busy.pid = 17;
  busy.name = "x;reboot";
  busy.process.emplace();
  busy.process->who.pid = busy.pid;
  busy.process->preload.loaded = busy.process->preload.requested = true;
  busy.daemon.socket = "/run/my pool/poold.sock";
  facts.owners.busy = {busy};
  EXPECT_EQ(check_shim(facts).fix, "poold serve --socket '/run/my pool/poold.sock'");
  // Another user's words are shown as what was found, and in no command.
  facts.owners.busy[0].process->preload.socket = "/tmp/;reboot";
  facts.owners.busy[0].daemon.socket = "/tmp/;reboot";
  EXPECT_TRUE(mentions(check_shim(facts).summary, "/tmp/;reboot"));
  EXPECT_FALSE(mentions(check_shim(facts).fix, "reboot")) << check_shim(facts).fix;
}

TEST(Judgement, FeaturesThatAreMissing) {
  Facts facts = healthy();
  facts.features.local_port_range = false;
  EXPECT_EQ(check_kernel_features(facts).status, Status::warn);
  EXPECT_TRUE(mentions(check_kernel_features(facts).summary, "IP_LOCAL_PORT_RANGE"));
  facts = healthy();
  facts.features.bind_address_no_port = false;
  EXPECT_TRUE(mentions(check_kernel_features(facts).summary, "IP_BIND_ADDRESS_NO_PORT"));
}

TEST(Judgement, ListThatBrokeOff) {
  Facts facts = healthy();
  facts.census->complete = false;
  EXPECT_EQ(check_visibility(facts).status, Status::unknown);
}

TEST(Judgement, FloodOfUnansweredFins) {
  Facts facts = healthy();
  const Endpoint peer{v4(0x0A000009), 443};
  facts.census->closing.push_back({.peer = peer, .fin_wait1 = 900, .last_ack = 50});
  EXPECT_EQ(check_unanswered_fins(facts).status, Status::ok);  // fresh: a busy moment
  facts.census->closing[0].unanswered = 200;
  EXPECT_EQ(check_unanswered_fins(facts).status, Status::warn);
  facts.census->closing[0].fin_wait1 = 60'000;
  const Check check = check_unanswered_fins(facts);
  EXPECT_EQ(check.status, Status::fail);
  EXPECT_TRUE(mentions(check.summary, "10.0.0.9:443: 60,050 connections")) << check.summary;
  facts.census->closing[0].peer.port = 0;
  EXPECT_TRUE(mentions(check_unanswered_fins(facts).summary, "clients at 10.0.0.9: "));
}

TEST(Outlook, Stages) {
  const PortPlan plan = make_plan({20000, 29999}, {}, {});
  const kernel::TimeWaitReuse never;
  const auto stage = [&](const Lane& of) { return outlook_of(of, plan, never).stage; };
  EXPECT_EQ(stage(lane(3999, 3999)), Stage::calm);
  EXPECT_EQ(stage(lane(4000, 4000)), Stage::near_cliff);
  EXPECT_EQ(stage(lane(4950, 4950)), Stage::near_cliff);
  EXPECT_EQ(stage(lane(4951, 4951)), Stage::past_cliff);
  EXPECT_EQ(stage(lane(9800, 5000)), Stage::past_cliff);
  EXPECT_EQ(stage(lane(9801, 5000)), Stage::exhausted);
  // On both parities alike, as the pool takes them, the cliff comes later.
  EXPECT_EQ(stage(lane(7000, 3500)), Stage::calm);
}

TEST(Outlook, RatesByTimeWait) {
  const PortPlan plan = make_plan({20000, 29999}, {}, {});
  Lane busy = lane(2000, 2000);
  busy.states = {};
  busy.states[TCP_ESTABLISHED] = 1000;
  busy.states[TCP_TIME_WAIT] = 1000;
  busy.recent_waits = 700;  // 70/s
  Outlook o = outlook_of(busy, plan, {.mode = 0, .min_age_ms = 1000});
  EXPECT_DOUBLE_EQ(o.sustainable_per_s, 9000 / 60.0);  // 1,000 are taken for good
  EXPECT_DOUBLE_EQ(o.ends_per_s, 70);
  EXPECT_EQ(o.settles_at, 1000 + 70 * 60U);
  EXPECT_EQ(o.stage, Stage::heading);
  o = outlook_of(busy, plan, {.mode = 1, .min_age_ms = 1000});
  EXPECT_DOUBLE_EQ(o.sustainable_per_s, 9000);
  EXPECT_EQ(o.stage, Stage::calm);
  // Mode 2 is for loopback only, and this is not.
  o = outlook_of(busy, plan, {.mode = 2, .min_age_ms = 1000});
  EXPECT_EQ(o.stage, Stage::heading);
}

TEST(Fixes, AreKeptOverAReboot) {
  EXPECT_EQ(persistent_form("sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"; or more"),
            "printf '%s\\n' 'net.ipv4.ip_local_port_range=1024 65535' > "
            "/etc/sysctl.d/90-ip_local_port_range.conf");
  EXPECT_EQ(persistent_form("free some, or sysctl -w net.ipv4.a=1 net.ipv4.b=2, or wait"),
            "printf '%s\\n' net.ipv4.a=1 net.ipv4.b=2 > /etc/sysctl.d/90-a.conf");
  EXPECT_EQ(persistent_form("sysctl -w net.ipv4.r=\"1,2-3\""),
            "printf '%s\\n' net.ipv4.r=1,2-3 > /etc/sysctl.d/90-r.conf");
  EXPECT_EQ(persistent_form("restart pid 5"), "");
  EXPECT_EQ(persistent_form("sysctl -w "), "");
}

TEST(PortPlan, WhatIsLeft) {
  PortSet taken;
  taken.set(20001).set(20002).set(40000);
  const PortPlan plan = make_plan({20000, 20010}, {{20002, 20003}, {1, 2}}, taken);
  EXPECT_EQ(plan.count, 11U);
  EXPECT_TRUE(plan.odd());
  EXPECT_EQ(plan.reserved, 2U);
  EXPECT_EQ(plan.taken, 1U);
  EXPECT_EQ(plan.usable, 7U);  // neither the last one
  EXPECT_EQ(plan.first, 4U);   // 20000, 20004, 20006, 20008
  EXPECT_EQ(make_plan({20000, 20000}, {}, {}).usable, 1U);
  EXPECT_EQ(make_plan({0, 65535}, {}, {}).usable, 65536U);
}

TEST(PortPlan, WiderRange) {
  PortSet listening;
  EXPECT_EQ(wider_range({32768, 60999}, listening), (kernel::PortRange{1024, 65535}));
  listening.set(8080).set(65000);
  EXPECT_EQ(wider_range({32768, 60999}, listening), (kernel::PortRange{8082, 64999}));
  EXPECT_EQ(wider_range({1024, 65535}, {}), std::nullopt);
  listening.set(32767).set(61000);
  EXPECT_EQ(wider_range({32768, 60999}, listening), std::nullopt);
  for (unsigned low = 2000; low < 2004; ++low) {
    for (unsigned high = 3000; high < 3004; ++high) {
      listening.reset().set(1990).set(3010);
      const auto found = wider_range(
          {static_cast<std::uint16_t>(low), static_cast<std::uint16_t>(high)}, listening);
      ASSERT_TRUE(found);
      EXPECT_EQ((found->high - found->low) % 2, 1);
      EXPECT_LE(found->low, low);
      EXPECT_GE(found->high, high);
      EXPECT_GT(found->low, 1990);
      EXPECT_LT(found->high, 3010);
    }
  }
}

TEST(SysctlFile, Lines) {
  const auto found = parse_sysctl_file(
      "# net.a.b = 1\n"
      "; net.a.b = 1\n"
      "\n"
      "  net.ipv4.tcp_tw_recycle =  1 \n"
      "-net/ipv4/tcp_fin_timeout=5\r\n"
      "nonsense\n"
      "net/ipv4/conf/eth0.1/x = 2",
      "f");
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].name, "net.ipv4.tcp_tw_recycle");
  EXPECT_EQ(found[0].value, "1");
  EXPECT_EQ(found[0].line, 4U);
  EXPECT_EQ(found[1].name, "net.ipv4.tcp_fin_timeout");
  EXPECT_EQ(found[1].value, "5");
  EXPECT_EQ(found[2].line, 7U);
}

TEST(Report, Statuses) {
  const auto with = [](std::vector<Status> statuses) {
    std::vector<Check> checks;
    for (const Status status : statuses) {
      checks.emplace_back();
      checks.back().status = status;
    }
    return exit_status(overall(checks));
  };
  EXPECT_EQ(with({Status::ok}), 0);
  EXPECT_EQ(with({Status::ok, Status::unknown}), 3);
  EXPECT_EQ(with({Status::unknown, Status::warn, Status::ok}), 1);
  EXPECT_EQ(with({Status::unknown, Status::warn, Status::fail}), 2);
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(1234567), "1,234,567");
}

}  // namespace
}  // namespace portpool::doctor
