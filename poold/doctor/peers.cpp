// Peers that do not answer: FINs and SYNs without a reply. Local settings do not help there.
#include <fmt/format.h>
#include <netinet/tcp.h>

#include <algorithm>

#include "base/address_text.h"
#include "doctor/checks.h"
#include "doctor/outlook.h"

namespace portpool::doctor {
namespace {

constexpr std::size_t kShown = 10;
constexpr std::uint32_t kManyUnanswered =
    100;                                      // retransmitted at least once: no network is so slow
constexpr std::uint32_t kManyClosing = 1000;  // or just a busy moment, if all are fresh
constexpr std::uint32_t kFlood = 10'000;

std::string peer_text(const ClosingPeer& peer) {
  return peer.peer.port == 0 ? "clients at " + to_text(peer.peer.address) : to_text(peer.peer);
}

std::string peer_counts(const ClosingPeer& peer) {
  return fmt::format(
      "{}: {} FIN-WAIT-1, {} LAST-ACK, {} CLOSING, {} of them orphans, {} sent again",
      peer_text(peer), count_text(peer.fin_wait1), count_text(peer.last_ack),
      count_text(peer.closing), count_text(peer.orphans), count_text(peer.unanswered));
}

}  // namespace

Check check_unanswered_fins(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  const Census& census = *facts.census;
  Check check;
  std::uint64_t total = 0;
  Json peers = Json::array();
  for (const ClosingPeer& peer : census.closing) {
    total += peer.total();
    if (peers.size() >= kShown) continue;
    peers.push_back(
        {{"peer", peer.peer.port == 0 ? to_text(peer.peer.address) : to_text(peer.peer)},
         {"fin_wait1", peer.fin_wait1},
         {"last_ack", peer.last_ack},
         {"closing", peer.closing},
         {"orphans", peer.orphans},
         {"unanswered", peer.unanswered}});
  }
  check.evidence = {{"closing", total}, {"peers", peers}};
  check.summary = total == 0 ? "no connection waits for the answer to its FIN"
                             : fmt::format("{} wait for the answer to their FIN, at {}",
                                           counted(total, "connection", "connections"),
                                           counted(census.closing.size(), "peer", "peers"));
  const auto worst = std::max_element(
      census.closing.begin(), census.closing.end(),
      [](const ClosingPeer& a, const ClosingPeer& b) { return a.unanswered < b.unanswered; });
  if (worst == census.closing.end()) return check;
  const ClosingPeer& first = worst->unanswered >= kManyUnanswered ? *worst : census.closing.front();
  const bool silent = first.unanswered >= kManyUnanswered;
  if (!silent && first.total() < kManyClosing) return check;
  check.status = first.total() >= kFlood ? Status::fail : Status::warn;
  check.summary = fmt::format(
      "{}: {} connections wait for the answer to their FIN: the peer is not "
      "answering, or not reading what was sent before it",
      peer_text(first), count_text(first.total()));
  for (std::size_t i = 0; i < census.closing.size() && i < 5; ++i) {
    if (census.closing[i].total() >= kManyUnanswered) {
      check.lines.push_back(peer_counts(census.closing[i]));
    }
  }
  check.lines.emplace_back(
      "tcp_fin_timeout and tcp_tw_reuse change nothing here: these are neither "
      "FIN-WAIT-2 nor TIME-WAIT");
  const std::string address = to_text(first.peer.address);
  check.fix = fmt::format(
      "look at {} (ss -tno state fin-wait-1 dst {}); to give up sooner: sysctl -w "
      "net.ipv4.tcp_orphan_retries=3",
      peer_text(first), is_v4(first.peer.address) ? address : fmt::format("[{}]", address));
  return check;
}

Check check_unanswered_connects(const Facts& facts) {
  if (!facts.census) return not_known(facts.census_error);
  const Census& census = *facts.census;
  const Lane* worst = nullptr;
  std::uint64_t connecting = 0;
  std::uint64_t unanswered = 0;
  for (const Lane& lane : census.lanes) {
    connecting += lane.states[TCP_SYN_SENT];
    unanswered += lane.unanswered;
    if (worst == nullptr || lane.unanswered > worst->unanswered) worst = &lane;
  }
  Check check;
  check.evidence = {{"connecting", connecting}, {"unanswered", unanswered}};
  check.summary = connecting == 0 ? "no connect() is under way"
                                  : fmt::format(
                                        "{} under way, {} of them unanswered for a second or "
                                        "more",
                                        counted(connecting, "connect() is", "connects are"),
                                        count_text(unanswered));
  if (worst == nullptr || worst->unanswered < kManyUnanswered) return check;
  const Outlook outlook = outlook_of(*worst, census.plan, facts.settings.reuse);
  check.evidence["source"] = to_text(worst->source);
  check.evidence["destination"] = to_text(worst->destination);
  check.evidence["destination_unanswered"] = worst->unanswered;
  check.status = Status::warn;
  check.summary = fmt::format("{}: {} connects unanswered for a second or more", lane_text(*worst),
                              count_text(worst->unanswered));
  if (outlook.stage == Stage::calm) {
    check.lines.push_back(
        fmt::format("not local ports: {} of {} are free toward it; look at the peer, a firewall or "
                    "NAT on the way",
                    count_text(outlook.free), count_text(outlook.used + outlook.free)));
  }
  const std::string destination = to_text(worst->destination);
  check.fix = fmt::format("look at {} and the way to it: ss -tno state syn-sent dst {}",
                          destination, destination);
  return check;
}

}  // namespace portpool::doctor
