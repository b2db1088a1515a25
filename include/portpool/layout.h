// The segment, byte by byte. docs/layout.md shows the same and is checked against this file by a
// test.
//
// Only poold writes structure (header, directory, lane identity); clients flip bits in port maps,
// add to shards and place requests. Nothing here is trusted by either side: see segment.h.
//
// kLayoutMajor changes when a reader of the old layout would misread the new one: a field moved or
// resized, a section's stride changed, a map's meaning changed. kLayoutMinor changes when something
// was added in space that was reserved (and was zero) before.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "portpool/counters.h"
#include "portpool/fallback.h"
#include "portpool/latency.h"

namespace portpool {

inline constexpr std::uint64_t kMagic = 0x0A4C4F4F50545250ULL;  // "PRTPOOL\n" in memory
inline constexpr std::uint16_t kLayoutMajor = 1;
inline constexpr std::uint16_t kLayoutMinor = 1;

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// ---- header -------------------------------------------------------------------------------------

struct Section {
  std::uint64_t offset;  // bytes from the start of the segment, a multiple of 64
  std::uint32_t stride;  // bytes, exactly the sizeof of the element
  std::uint32_t count;

  friend constexpr bool operator==(const Section&, const Section&) = default;
};

enum class Mode : std::uint32_t { pool = 0, observe = 1, ab = 2 };
enum class Strategy : std::uint32_t { port_range = 0, bind = 1 };

// What the shim must know of the configuration on each call, in one word.
struct Control {
  Mode mode;
  Route arm;  // assigned arm in Mode::ab
  Strategy strategy;

  static constexpr Control unpack(std::uint32_t word) {
    return {static_cast<Mode>(word & 0xFF), static_cast<Route>(word >> 8 & 1),
            static_cast<Strategy>(word >> 16 & 1)};
  }
  constexpr std::uint32_t pack() const {
    return static_cast<std::uint32_t>(mode) | static_cast<std::uint32_t>(arm) << 8 |
           static_cast<std::uint32_t>(strategy) << 16;
  }
};

// The time block of Mode::ab that is in force: its number, counted from 1 over the daemon's life,
// and its arm. Blocks 1 and 2, 3 and 4, ... are pairs: of the same length, one for each arm.
struct AbBlock {
  std::uint32_t number;  // 0: not in Mode::ab; 31 bits
  Route arm;

  static constexpr AbBlock unpack(std::uint32_t word) {
    return {word >> 1, static_cast<Route>(word & 1)};
  }
  constexpr std::uint32_t pack() const {
    return number << 1 | (number == 0 ? 0 : static_cast<std::uint32_t>(arm));
  }
};

struct alignas(64) SegmentHeader {
  // Fixed for the life of the segment. magic is stored last (release): 0 means "being written".
  std::atomic<std::uint64_t> magic;
  std::uint16_t layout_major;
  std::uint16_t layout_minor;
  std::uint32_t header_size;
  std::uint64_t segment_size;
  std::uint64_t generation;    // random, never 0: tells incarnations apart
  std::uint64_t netns_cookie;  // SO_NETNS_COOKIE (Linux 5.14) of poold's sockets, 0: not known
  std::uint64_t netns_inode;   // st_ino of /proc/self/ns/net, for kernels without the cookie
  std::uint64_t started_ns;    // CLOCK_BOOTTIME
  std::int32_t daemon_pid;     // in poold's own pid namespace
  std::uint32_t reserved0;
  char daemon_version[32];  // zero-terminated
  Section directory;
  Section requests;
  Section shards;
  Section lanes;
  Section pools;
  Section trace;  // since 1.1; all 0: a daemon that has none
  std::uint64_t reserved1[3];

  // Written by poold as it runs.
  alignas(64) std::atomic<std::uint64_t> heartbeat;  // +1 every kHeartbeatMs
  std::atomic<std::uint64_t> heartbeat_ns;           // CLOCK_MONOTONIC of the last beat, for status
  std::atomic<std::uint32_t> control;                // Control::pack()
  std::atomic<std::uint32_t> port_range;             // high << 16 | low, ip_local_port_range
  std::atomic<std::uint32_t> clients;                // attached processes known to be alive
  std::atomic<std::uint32_t> stopped;                // 1: poold ended in good order
  std::atomic<std::uint64_t> reconcile_passes;
  std::atomic<std::uint64_t> reconcile_cpu_ns;  // sum over all passes
  std::atomic<std::uint64_t> attaches_refused;
  std::atomic<std::uint32_t> lanes_touched;  // lanes from here on have never been in service
  // Tracers: connects are traced until the heartbeat (its low half) reaches this; see trace.h. It
  // stands here because each call reads this line anyway.
  std::atomic<std::uint32_t> trace_until;

  // A futex (shared): clients add 1 and wake when they placed a request.
  alignas(64) std::atomic<std::uint32_t> doorbell;
  std::atomic<std::uint32_t> ab_block;    // poold: AbBlock::pack() in Mode::ab, else 0
  std::atomic<std::uint64_t> trace_head;  // clients: the ticket of the next trace entry
};

inline constexpr std::uint64_t kHeartbeatMs = 100;
// A heartbeat that has not moved for this long, on the reader's own clock, has stopped.
inline constexpr std::uint64_t kHeartbeatStaleMs = 1000;

// ---- directory: from a question to lanes
// ----------------------------------------------------------

inline constexpr std::size_t kLanesPerEntry = 32;
// A key is looked for in this many places from its hash on, and stored in one of them.
inline constexpr std::uint32_t kDirectoryProbes = 8;

// A LaneKey as five words, so that it can be read while it is being written.
inline constexpr std::size_t kKeyWords = 5;

struct EntryFlags {
  static constexpr std::uint32_t bind_source = 1;  // the shim binds the lane's source address first
  static constexpr std::uint32_t fail_fast = 2;    // on_exhaustion = "fail-fast"
  static constexpr std::uint32_t balance = 4;      // source_policy = "balance"
  static constexpr std::uint32_t refused = 8;      // poold keeps no lane for this key
};

// Written by poold under a sequence lock: odd while being written, 0 when never used.
struct alignas(64) DirectoryEntry {
  std::atomic<std::uint32_t> sequence;
  std::atomic<std::uint32_t> flags;
  std::atomic<std::uint64_t> key[kKeyWords];
  std::atomic<std::uint32_t> lane_count;  // 0: entry not in force
  std::atomic<std::uint32_t> reserved0;
  std::atomic<std::uint16_t> lanes[kLanesPerEntry];
};

// ---- requests: a client asks for a lane
// -----------------------------------------------------------

enum class RequestState : std::uint32_t { empty = 0, writing = 1, ready = 2 };

struct alignas(64) RequestSlot {
  std::atomic<std::uint32_t> state;  // RequestState
  std::atomic<std::uint32_t> reserved;
  std::atomic<std::uint64_t> key[kKeyWords];
};

// ---- lanes
// ----------------------------------------------------------------------------------------

inline constexpr std::size_t kPorts = 65536;
inline constexpr std::size_t kPortWords = kPorts / 64;
inline constexpr std::size_t kPortMidWords = kPortWords / 64;

// Every port stands in at most one of a lane's maps. In none: it is in use.
inline constexpr std::uint32_t kFreeMaps = 4;  // a ring of ages, see port_map.h
inline constexpr std::uint32_t kReuseMaps =
    3;  // TIME_WAIT that the kernel lets a pin take over; 0 is oldest
enum class PortMapId : std::uint32_t {
  free0 = 0,
  reuse0 = kFreeMaps,
  quarantine = kFreeMaps + kReuseMaps,
  rejected,  // refused by the kernel though the lane thought them free
  blocked,
  count
};
inline constexpr std::size_t kPortMaps = static_cast<std::size_t>(PortMapId::count);

struct alignas(4096) Lane {
  // Identity, written by poold before any directory entry names the lane.
  std::atomic<std::uint64_t> key[kKeyWords];
  std::atomic<std::uint32_t> live;   // 1 while in service
  std::atomic<std::uint32_t> pool;   // index into the pools section
  std::atomic<std::uint32_t> ports;  // high << 16 | low: the lane's range
  std::atomic<std::uint32_t> reserved0;

  // What a claim reads first.
  alignas(64) std::atomic<std::uint32_t> ring;  // FreeRing, see port_map.h
  std::atomic<std::uint32_t> low;  // poold: few ports are free, claims shall ask for attention
  std::atomic<std::uint32_t> attention;  // clients: 1, poold shall look at the lane now; poold: 0
  std::atomic<std::uint32_t> full;       // poold: the kernel's table leaves no port to claim
  std::atomic<std::uint32_t> top[kPortMaps];  // bit g: mid[map][g] is not 0

  // Events, counted by clients.
  alignas(64) std::atomic<std::uint64_t> rejections;
  std::atomic<std::uint64_t> exhausted;       // a claim found nothing
  std::atomic<std::uint64_t> last_used_beat;  // heartbeat at some recent claim
  std::atomic<std::uint64_t> next_probe_ns;   // fail-fast: when the kernel is asked again

  // bit w%64 of mid[map][w/64]: words[map][w] is not 0.
  alignas(64) std::atomic<std::uint64_t> mid[kPortMaps][kPortMidWords];
  alignas(4096) std::atomic<std::uint64_t> words[kPortMaps][kPortWords];
};

// ---- shards: counters and latency, one per CPU
// ------------------------------------------------------

struct alignas(4096) Shard {
  std::atomic<std::uint64_t> counters[64];   // by Counter
  std::atomic<std::uint64_t> fallbacks[64];  // by FallbackReason
  LatencyHistogram latency[kHistograms];     // by histogram_index()
};
static_assert(kCounters <= 64 && kFallbackReasons <= 64);

// ---- pools
// ------------------------------------------------------------------------------------------

struct alignas(64) PoolInfo {
  char name[64];  // zero-terminated
};

// ---- trace: the latest connects, while somebody listens
// ---------------------------------------------------

// Ticket t is written to entry t % count, under `sequence`: 2t+1 while being written, 2t+2 when
// complete, 0 when never used. See trace.h.
struct alignas(64) TraceEntry {
  std::atomic<std::uint64_t> sequence;
  std::atomic<std::uint64_t> started_ns;      // CLOCK_REALTIME
  std::atomic<std::uint64_t> duration_ns;     // of the call
  std::atomic<std::uint64_t> comm[2];         // 16 characters, filled up with 0
  std::atomic<std::uint64_t> source[2];       // as in a lane's key; unspecified: not known
  std::atomic<std::uint64_t> destination[2];  // as in a lane's key
  std::atomic<std::uint32_t> pid;             // in the program's own pid namespace
  std::atomic<std::uint32_t> error;           // errno of the call, 0 when it returned 0
  std::atomic<std::uint16_t> source_port;     // 0: not known
  std::atomic<std::uint16_t> destination_port;
  std::atomic<std::uint32_t> call;  // bit 0 arm, 1 path, 2 blocking; bits 8-15 TraceWhy
};

// ---- sizes
// ------------------------------------------------------------------------------------------

static_assert(sizeof(Section) == 16);
static_assert(sizeof(SegmentHeader) == 384);
static_assert(offsetof(SegmentHeader, heartbeat) == 256);
static_assert(offsetof(SegmentHeader, doorbell) == 320);
static_assert(sizeof(DirectoryEntry) == 128);
static_assert(sizeof(RequestSlot) == 64);
static_assert(offsetof(Lane, ring) == 64);
static_assert(offsetof(Lane, mid) == 192);
static_assert(offsetof(Lane, words) == 4096);
static_assert(sizeof(Lane) == 4096 + kPortMaps * kPortWords * 8);
static_assert(sizeof(LatencyHistogram) == 64 + kLatencyBuckets * 8);
static_assert(sizeof(Shard) == 61440);
static_assert(sizeof(PoolInfo) == 64);
static_assert(sizeof(TraceEntry) == 128);

}  // namespace portpool
