// Which destinations have ports of a range of their own and of no other (outside_range = "refuse"),
// as programs are told: for calls that no lane serves, and for those while poold is stopped.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "portpool/endpoint.h"
#include "portpool/segment.h"
#include "portpool/structure.h"

namespace portpool {

// A row of the table in the structure: a destination that a rule of the configuration names, or
// leaves out.
struct PortRule {
  Address prefix;          // host bits are 0
  std::uint32_t bits = 0;  // 0..128, counted in the 16-byte form
  std::uint32_t rule = 0;  // of which rule
  std::uint16_t port = 0;  // of the destination; 0: any
  bool left_out = false;   // the rule does not match this
  PortRange range;         // empty: of any port

  bool matches(const Endpoint& destination) const {
    return (port == 0 || port == destination.port) && shares_prefix(destination.address);
  }

 private:
  // The bytes of an address stand in network order.
  bool shares_prefix(const Address& address) const {
    const auto differs = [](std::uint64_t a, std::uint64_t b, std::uint32_t first) {
      if (first == 0) return false;
      const std::uint64_t difference =
          __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(a ^ b) : a ^ b;
      return difference >> (64 - first) != 0;
    };
    return !differs(prefix.high, address.high, std::min(bits, 64U)) &&
           !differs(prefix.low, address.low, bits > 64 ? std::min(bits, 128U) - 64 : 0);
  }
};

inline void store_rule(PortRuleWords& out, const PortRule& rule) {
  out.prefix[0].store(rule.prefix.high, std::memory_order_relaxed);
  out.prefix[1].store(rule.prefix.low, std::memory_order_relaxed);
  out.kind.store(rule.bits | static_cast<std::uint32_t>(rule.left_out) << 8 | rule.rule << 16,
                 std::memory_order_relaxed);
  out.port.store(rule.port, std::memory_order_relaxed);
  out.range.store(rule.range.pack(), std::memory_order_relaxed);
}

inline PortRule load_rule(const PortRuleWords& in) {
  const std::uint32_t kind = in.kind.load(std::memory_order_relaxed);
  PortRule rule;
  rule.prefix = {in.prefix[0].load(std::memory_order_relaxed),
                 in.prefix[1].load(std::memory_order_relaxed)};
  rule.bits = kind & 0xFF;
  rule.left_out = (kind >> 8 & 1) != 0;
  rule.rule = kind >> 16;
  rule.port = static_cast<std::uint16_t>(in.port.load(std::memory_order_relaxed));
  rule.range = PortRange::unpack(in.range.load(std::memory_order_relaxed));
  return rule;
}

// The range that a connection to `destination` must not leave; empty: there is none. One load where
// no rule asks for it. A table that is being rewritten is read again.
inline PortRange required_range(const SegmentView& view, const Endpoint& destination) {
  if (view.port_rules() == nullptr) return {};
  const PortRules& table = *view.port_rules();
  constexpr int kTries = 1000;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const std::uint32_t before = table.sequence.load(std::memory_order_acquire);
    if (before % 2 != 0) continue;
    const std::uint32_t count = table.count.load(std::memory_order_relaxed);
    PortRange found;
    std::uint32_t passed_over = ~0U;
    for (std::uint32_t i = 0; i < std::min(count, kMaxPortRules); ++i) {
      const PortRule rule = load_rule(table.rows[i]);
      if (rule.rule == passed_over || !rule.matches(destination)) continue;
      if (!rule.left_out) {
        found = rule.range;
        break;
      }
      passed_over = rule.rule;
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (table.sequence.load(std::memory_order_relaxed) == before) return found;
  }
  return {};
}

}  // namespace portpool
