// Attacks that know what they write: on lanes in service, requests and the doorbell.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "fault/hostile/attack.h"
#include "fault/hostile/scene.h"
#include "lanes/lane_table.h"
#include "portpool/lane.h"

namespace portpool::test {
namespace {

constexpr std::uint64_t kOnes = ~std::uint64_t{0};
constexpr auto kQuarantine = static_cast<std::size_t>(PortMapId::quarantine);
constexpr auto kRejected = static_cast<std::size_t>(PortMapId::rejected);
constexpr auto kBlocked = static_cast<std::size_t>(PortMapId::blocked);

void set(PortBits& bits, std::uint32_t port) { bits[port / 64] |= std::uint64_t{1} << (port % 64); }

// The local ports of all sockets of this namespace.
void ports_in_use(PortBits& bits) {
  for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream table(path);
    std::string line;
    std::getline(table, line);
    while (std::getline(table, line)) {
      std::istringstream words(line);
      std::string number;
      std::string local;
      words >> number >> local;
      set(bits,
          static_cast<std::uint32_t>(std::stoul(local.substr(local.rfind(':') + 1), nullptr, 16)));
    }
  }
}

// Maps `first` to `last` get `bits`, the others nothing; with the upper levels that belong to it.
void store_maps(LaneHints& lane, std::size_t first, std::size_t last, const PortBits& bits) {
  for (std::size_t map = 0; map < kPortMaps; ++map) {
    const bool filled = map >= first && map <= last;
    std::uint32_t top = 0;
    for (std::size_t group = 0; group < kPortMidWords; ++group) {
      std::uint64_t mid = 0;
      for (std::size_t w = 0; w < 64; ++w) {
        const std::uint64_t word = filled ? bits[group * 64 + w] : 0;
        lane.words[map][group * 64 + w].store(word, std::memory_order_relaxed);
        if (word != 0) mid |= std::uint64_t{1} << w;
      }
      lane.mid[map][group].store(mid, std::memory_order_relaxed);
      if (mid != 0) top |= 1U << group;
    }
    lane.top[map].store(top, std::memory_order_relaxed);
  }
}

// The upper levels say the contrary of the words.
void store_lies(LaneHints& lane, bool filled) {
  for (std::size_t map = 0; map < kPortMaps; ++map) {
    for (auto& word : lane.words[map]) word.store(filled ? kOnes : 0, std::memory_order_relaxed);
    for (auto& mid : lane.mid[map]) mid.store(filled ? 0 : kOnes, std::memory_order_relaxed);
    lane.top[map].store(filled ? 0 : UINT32_MAX, std::memory_order_relaxed);
  }
}

}  // namespace

void Attack::ports() {
  constexpr std::size_t kWays = 14;
  static PortBits used;
  const std::size_t before = way_;
  const std::size_t way = turn(kWays);
  if (way == 4 && way_ != before) ports_in_use(used);
  each_lane([&](LaneHints& lane, const LaneInfo& info) {
    const auto range = PortRange::unpack(info.ports.load(std::memory_order_relaxed));
    const LaneKey key = load_key(info.key);
    PortBits inside = {};
    for (std::size_t w = range.low / 64U; w <= range.high / 64U; ++w) {
      inside[w] = range_bits(range, w);
    }
    PortBits outside;
    for (std::size_t w = 0; w < kPortWords; ++w) outside[w] = ~inside[w];
    PortBits some = {};
    switch (way) {
      case 0:  // nothing is free
        store_maps(lane, 0, kPortMaps - 1, some);
        break;
      case 1:  // everything is free, ten times over
        for (auto& word : some) word = kOnes;
        store_maps(lane, 0, kPortMaps - 1, some);
        break;
      case 2:  // what does not belong to the lane
        store_maps(lane, 0, kFreeMaps + kReuseMaps - 1, outside);
        break;
      case 3:  // what belongs to the system
        for (std::uint32_t port = 0; port < kLowestPort; ++port) set(some, port);
        store_maps(lane, 0, kFreeMaps + kReuseMaps - 1, some);
        break;
      case 4:  // what somebody uses, for whatever destination
        store_maps(lane, 0, kFreeMaps - 1, used);
        break;
      case 5:
        store_maps(lane, kQuarantine, kQuarantine, inside);
        break;
      case 6:
        store_maps(lane, kRejected, kRejected, inside);
        break;
      case 7:
        store_maps(lane, kBlocked, kBlocked, inside);
        break;
      case 8:
        store_maps(lane, kFreeMaps, kFreeMaps + kReuseMaps - 1, inside);
        break;
      case 9:  // one for all to fight over
        set(some, range.low + static_cast<std::uint32_t>(way_ / kWays % 1000));
        store_maps(lane, 0, kFreeMaps - 1, some);
        break;
      case 10:  // the destination's own
        set(some, key.destination_port);
        store_maps(lane, 0, kFreeMaps - 1, some);
        break;
      case 11:
      case 12:
        store_lies(lane, way == 11);
        break;
      default:  // now this, now that
        store_maps(lane, 0, kFreeMaps - 1, stores_ % 2 == 0 ? inside : some);
    }
    stores_ += sizeof(LaneHints) / 8;
  });
  ++stores_;
}

void Attack::lane_heads() {
  constexpr std::size_t kWays = 9;
  const std::size_t way = turn(kWays);
  const std::uint64_t beat = segment_.header().heartbeat.load();
  const std::uint64_t now = clock_ns(CLOCK_MONOTONIC);
  each_lane([&](LaneHints& lane, const LaneInfo& info) {
    const std::uint32_t full = info.full.load(std::memory_order_relaxed);
    switch (way) {
      case 0:  // each lane looks as if it had to be looked at, and dear to look at
        for (std::size_t w = 0; w < 32; ++w) {
          put(lane.words[kQuarantine][info.ports.load() % 65536 / 64 + w], kOnes);
        }
        put(lane.attention, 1U);
        break;
      case 1:  // unused for ever
        put(lane.last_used_beat, std::uint64_t{0});
        break;
      case 2:  // used in the time to come
        put(lane.last_used_beat, beat + 1'000'000 + pick(1000));
        break;
      case 3:  // nobody's turn to ask the kernel, whatever was found
        put(lane.next_probe_ns, now + 10'000'000);
        put(lane.relieved, full + 1);
        break;
      case 4:
        put(lane.relieved, full);
        put(lane.rejections, random_());
        put(lane.attention, static_cast<std::uint32_t>(random_()));
        break;
      case 5:
        put(lane.ring[random_() % 2], static_cast<std::uint32_t>(random_()));
        break;
      case 6:
        for (auto& top : lane.top) put(top, static_cast<std::uint32_t>(random_()));
        break;
      case 7:  // no destination is what it seems
        put(lane.rewritten, static_cast<std::uint32_t>(random_()));
        put(lane.attention, 1U);
        break;
      default:  // nothing is free, and poold shall not be asked
        for (auto& top : lane.top) put(top, 0U);
        put(lane.attention, 1U);
        put(lane.exhausted, random_());
        put(lane.last_used_beat, std::uint64_t{0});
        put(lane.next_probe_ns, now + 10'000'000);
    }
  });
  if (way == 0 || way == 4 || way == 7) ring();
  ++stores_;
}

void Attack::futex(int operation, std::uint32_t count, std::atomic<std::uint32_t>* other) {
  syscall(SYS_futex, &view_.hints().doorbell, operation, count, std::uintptr_t{INT_MAX}, other, 0);
}

void Attack::ring() {
  view_.hints().doorbell.fetch_add(1);
  futex(FUTEX_WAKE, INT_MAX, nullptr);
}

void Attack::requests() {
  constexpr std::size_t kWays = 10;
  const std::size_t way = turn(kWays);
  HintsHeader& header = view_.hints();
  const auto all = [&](RequestState state, const std::function<LaneKey()>& key) {
    for (std::uint32_t i = 0; i < view_.request_count(); ++i) {
      RequestSlot& slot = view_.request(i);
      store_key(slot.key, key());
      put(slot.state, static_cast<std::uint32_t>(state));
    }
    ring();
  };
  const auto v4 = [](std::uint32_t host) { return address_from_v4({htonl(host)}); };
  const auto port = [&] { return static_cast<std::uint16_t>(random_()); };
  switch (way) {
    case 0:  // lanes that nobody needs
      all(RequestState::ready, [&] {
        return LaneKey{{}, v4(0x0A080000 + static_cast<std::uint32_t>(pick(256))), port()};
      });
      break;
    case 1:  // with sources that nobody has
      all(RequestState::ready, [&] {
        return LaneKey{{random_(), random_()}, {random_(), random_()}, port()};
      });
      break;
    case 2:  // without a way there
      all(RequestState::ready, [&] {
        return LaneKey{{}, v4(0xC0000200 + static_cast<std::uint32_t>(pick(256))), port()};
      });
      break;
    case 3:  // what cannot be
      all(RequestState::ready, [&] {
        return pick(2) == 0 ? LaneKey{v4(1), {random_(), random_()}, 0}
                            : LaneKey{v4(0x7F000001), {}, port()};
      });
      break;
    case 4:  // no room for others
      all(RequestState::writing, [&] { return LaneKey{{}, v4(0x7F000001), 9001}; });
      break;
    case 5:  // neither empty, nor being written, nor ready
      for (std::uint32_t i = 0; i < view_.request_count(); ++i) {
        put(view_.request(i).state, static_cast<std::uint32_t>(random_()) | 4U);
        put(view_.request(i).reserved, static_cast<std::uint32_t>(random_()));
      }
      break;
    case 6:  // the bell never rests
      ring();
      break;
    case 7:  // nor whoever waits for it, without any call
      for (int i = 0; i < 100'000; ++i) header.doorbell.fetch_add(1);
      break;
    case 8:  // it is not heard
      put(header.doorbell, 0U);
      break;
    default:  // who waits for it is led to wait for something else
      futex(FUTEX_REQUEUE, 0, &header.reserved0);
  }
  ++stores_;
}

}  // namespace portpool::test
