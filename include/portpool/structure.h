// The structure: what poold writes and everybody else reads, byte by byte. docs/layout.md shows the
// same and is checked against this file by a test.
//
// poold's memory is two files. This is the first: programs and readers are handed a descriptor that
// was opened read-only, of a file that only poold's user (and root) may open for writing. Whatever
// decides something about a connect() besides its port stands here. The second is hints.h.
//
// kLayoutMajor changes when a reader of the old layout would misread the new one: a field moved or
// resized, a section's stride changed, a map's meaning changed. kLayoutMinor changes when something
// was added in space that was reserved (and was zero) before.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "portpool/latency.h"

namespace portpool {

inline constexpr std::uint64_t kMagic = 0x0A4C4F4F50545250ULL;  // "PRTPOOL\n" in memory
inline constexpr std::uint16_t kLayoutMajor = 3;
inline constexpr std::uint16_t kLayoutMinor = 4;

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// ---- header -------------------------------------------------------------------------------------

struct Section {
  std::uint64_t offset;  // bytes from the start of the file, a multiple of 64
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

// Ports from `low` to `high`, both included; none when low > high. In one word, so that it is read
// in one step.
struct PortRange {
  std::uint16_t low = 1;
  std::uint16_t high = 0;

  static constexpr PortRange unpack(std::uint32_t word) {
    return {static_cast<std::uint16_t>(word), static_cast<std::uint16_t>(word >> 16)};
  }
  constexpr std::uint32_t pack() const { return std::uint32_t{high} << 16 | low; }
  constexpr bool contains(std::uint32_t port) const { return port >= low && port <= high; }
  constexpr bool empty() const { return low > high; }
  constexpr std::uint32_t size() const { return empty() ? 0 : high - low + 1U; }
  friend constexpr bool operator==(const PortRange&, const PortRange&) = default;
};

struct alignas(64) StructureHeader {
  // Fixed for the life of the files, except what tells about the daemon: a successor that goes on
  // with the files (docs/upgrade.md) writes its own start, pid and version while others read, of
  // which a reader may see parts. magic is stored last (release): 0 means "being written".
  std::atomic<std::uint64_t> magic;
  std::uint16_t layout_major;
  std::uint16_t layout_minor;
  std::uint32_t header_size;
  std::uint64_t structure_size;  // bytes, of this file
  std::uint64_t hints_size;      // bytes, of the other
  std::uint64_t generation;      // random, never 0: tells incarnations apart
  std::uint64_t netns_cookie;    // SO_NETNS_COOKIE (Linux 5.14) of poold's sockets, 0: not known
  std::uint64_t netns_inode;     // st_ino of /proc/self/ns/net, for kernels without the cookie
  std::uint64_t started_ns;      // CLOCK_BOOTTIME
  std::int32_t daemon_pid;       // in poold's own pid namespace
  std::uint32_t reserved0;
  char daemon_version[32];  // zero-terminated
  // In this file.
  Section directory;
  Section lane_infos;
  Section pools;
  // In the hints. Each lane has one element in both files, at the same index.
  Section requests;
  Section shards;
  Section lane_hints;
  Section trace;
  Section first_calls;  // count 0: written by a poold before 3.1, which has none
  // In the structure: one element, or none as with first_calls.
  Section port_rules;
  Section bound_ports;  // in the hints: one element, or none
  Section history;      // in the structure: one element, or none before 3.2
  Section attached;     // in the hints; count 0: written by a poold before 3.2
  Section attendance;   // in the structure: one element, or none before 3.3
  std::uint64_t reserved1[1];

  // Written by poold as it runs.
  alignas(64) std::atomic<std::uint64_t> heartbeat;  // +1 every kHeartbeatMs
  std::atomic<std::uint64_t> heartbeat_ns;           // CLOCK_MONOTONIC of the last beat, for status
  std::atomic<std::uint32_t> control;                // Control::pack()
  std::atomic<std::uint32_t> port_range;             // PortRange::pack(), ip_local_port_range
  std::atomic<std::uint32_t> clients;                // attached processes known to be alive
  std::atomic<std::uint32_t> stopped;                // 0, kStopped or kReplaced
  std::atomic<std::uint64_t> reconcile_passes;
  std::atomic<std::uint64_t> reconcile_cpu_ns;  // sum over all passes
  std::atomic<std::uint64_t> attaches_refused;
  std::atomic<std::uint32_t> lanes_touched;  // lanes from here on have never been in service
  std::atomic<std::uint32_t> ab_block;       // AbBlock::pack() in Mode::ab, else 0
};

// StructureHeader::stopped. Any other number than 0 means kStopped.
inline constexpr std::uint32_t kStopped = 1;   // poold ended in good order
inline constexpr std::uint32_t kReplaced = 2;  // and a successor with other files listens already

inline constexpr std::uint64_t kHeartbeatMs = 100;
// A heartbeat that has not moved for this long, on the reader's own clock, has stopped.
inline constexpr std::uint64_t kHeartbeatStaleMs = 1000;

// ---- lanes --------------------------------------------------------------------------------------

// A LaneKey as five words, so that it can be read while it is being written.
inline constexpr std::size_t kKeyWords = 5;

inline constexpr unsigned kLaneIndexBits = 14;
inline constexpr std::uint32_t kMaxLanes = 1U << kLaneIndexBits;

// A lane, as the directory and the word of each descriptor name it: its place, and which use of the
// place is meant. The generation begins at a random number with each poold and grows by one each
// time the place is given to another lane: who comes with an old one (stopped for long between
// look-up and claim, or across a restart of poold) is told so. 18 bits come round after 262,144
// uses of a place, three days of nothing else.
struct LaneRef {
  static constexpr std::uint32_t kGenerations = 1U << (32 - kLaneIndexBits);

  std::uint32_t index = 0;       // below kMaxLanes
  std::uint32_t generation = 0;  // 1..kGenerations - 1; 0: no lane

  static constexpr LaneRef unpack(std::uint32_t word) {
    return {word % kMaxLanes, word >> kLaneIndexBits};
  }
  constexpr std::uint32_t pack() const { return generation << kLaneIndexBits | index; }
  friend constexpr bool operator==(const LaneRef&, const LaneRef&) = default;
};

struct Crowding {
  // Hardly a port of the range is without a user, for whatever destination: a port may be shared.
  static constexpr std::uint32_t crowded = 1;
  // Programs outside the pool take ports of this range too, and find none that is bound: ports are
  // shared where that is possible, and half of them are left alone.
  static constexpr std::uint32_t exposed = 2;
};

// What a lane is, and how it stands.
//
// generation is a sequence lock over key, ports and pool: 0 while the place is in nobody's service.
// It is stored last (release) when a lane comes, first when it goes.
struct alignas(64) LaneInfo {
  std::atomic<std::uint32_t> generation;
  std::atomic<std::uint32_t>
      ports;  // PortRange::pack(): the lane's range; may change while in service
  std::atomic<std::uint32_t> pool;  // index into the pools section
  std::atomic<std::uint32_t> low;   // 1: few ports are free, claims shall ask for attention
  // Not 0: the kernel's table left no port to claim. Another number at each such finding.
  std::atomic<std::uint32_t> full;
  std::atomic<std::uint32_t> crowding;  // Crowding, for the bind strategy (shim/pool_path.cpp)
  std::atomic<std::uint64_t> key[kKeyWords];
};

// ---- directory: from a question to lanes --------------------------------------------------------

inline constexpr std::size_t kLanesPerEntry = 32;
// A key is looked for in this many places from its hash on, and stored in one of them.
inline constexpr std::uint32_t kDirectoryProbes = 8;

struct EntryFlags {
  static constexpr std::uint32_t bind_source = 1;  // the pool names sources: bind the lane's first
  static constexpr std::uint32_t fail_fast = 2;    // on_exhaustion = "fail-fast"
  static constexpr std::uint32_t balance = 4;      // source_policy = "balance"
  static constexpr std::uint32_t refused = 8;      // poold keeps no lane for this key
  static constexpr std::uint32_t rewritten = 16;   // with refused: since it is rewritten on the way
  static constexpr std::uint32_t no_pool = 32;     // with refused: pool = "none"
  static constexpr std::uint32_t no_source = 64;   // with refused: the pool's sources are away
};

// Written under a sequence lock: odd while being written, 0 when never used.
struct alignas(64) DirectoryEntry {
  std::atomic<std::uint32_t> sequence;
  std::atomic<std::uint32_t> flags;
  std::atomic<std::uint64_t> key[kKeyWords];
  std::atomic<std::uint32_t> lane_count;             // 0: entry not in force
  std::atomic<std::uint32_t> lanes[kLanesPerEntry];  // LaneRef::pack()
};

// ---- pools --------------------------------------------------------------------------------------

struct alignas(64) PoolInfo {
  char name[64];  // zero-terminated
};

// ---- port rules ---------------------------------------------------------------------------------

inline constexpr std::uint32_t kMaxPortRules = 1024;

// A PortRule (port_rules.h).
struct PortRuleWords {
  std::atomic<std::uint64_t> prefix[2];
  std::atomic<std::uint32_t> kind;  // bits 0-7: length of the prefix, 8: left out, 16-31: rule
  std::atomic<std::uint32_t> port;
  std::atomic<std::uint32_t> range;  // PortRange::pack(); empty: of any port
  std::atomic<std::uint32_t> reserved;
};

// What the configuration says of destinations whose ports come from a range of their own and from
// nowhere else (outside_range = "refuse"). Written under a sequence lock: odd while being written.
struct alignas(64) PortRules {
  std::atomic<std::uint32_t> sequence;
  std::atomic<std::uint32_t> count;               // of rows; 0: no rule asks for it
  alignas(64) PortRuleWords rows[kMaxPortRules];  // rules in their order, what they leave out first
};

// ---- history: how the counters stood, second by second -----------------------------------------

inline constexpr std::size_t kFineSamples = 300;    // one a second: five minutes
inline constexpr std::size_t kCoarseSamples = 360;  // one every ten seconds: an hour
inline constexpr std::size_t kSampleLanes = 8;
// Buckets of a latency histogram (latency.h) that are one here: at most 1/8 wide.
inline constexpr std::size_t kSampleJoined = 4;
inline constexpr std::size_t kSampleBuckets = kLatencyBuckets / kSampleJoined;

// A lane at that moment.
struct alignas(64) SampleLane {
  std::atomic<std::uint64_t> key[kKeyWords];
  std::atomic<std::uint16_t> pool;  // index into the pools section
  std::atomic<std::uint16_t> capacity;
  std::atomic<std::uint16_t> in_use;
  std::atomic<std::uint16_t> free;
  std::atomic<std::uint16_t> waiting;
  std::atomic<std::uint16_t> blocked;
  std::atomic<std::uint32_t> rejections;  // lower half of the lane's counter
  std::uint64_t reserved;
};

// A reading of all counters, so that what happened between two samples, neighbours or not, is their
// difference (the lower halves are kept, and differ by less than 2^32). Ticket t of a ring stands
// in place t % its count under `sequence`: 2t+1 while being written, 2t+2 when complete, 0 never
// used.
struct alignas(64) HistorySample {
  std::atomic<std::uint64_t> sequence;
  std::atomic<std::uint64_t> at_ns;  // CLOCK_REALTIME, to be shown
  std::atomic<std::uint64_t>
      at_boot_ns;                      // CLOCK_BOOTTIME of poold, to tell how far samples are apart
  std::atomic<std::uint32_t> control;  // Control::pack()
  std::atomic<std::uint32_t> clients;  // as in the header
  std::atomic<std::uint32_t> lanes_in_service;
  std::atomic<std::uint32_t> lane_count;  // of `lanes`
  std::uint64_t reserved[3];
  // Summed over all shards.
  std::atomic<std::uint32_t> counters[64];                // by Counter
  std::atomic<std::uint32_t> fallbacks[64];               // by FallbackReason
  std::atomic<std::uint32_t> latency[2][kSampleBuckets];  // by the path on which the call ended
  SampleLane lanes[kSampleLanes];                         // the fullest, fullest first
};

struct History {
  HistorySample fine[kFineSamples];
  HistorySample coarse[kCoarseSamples];
};

// ---- attendance: who came, and who shall be there -----------------------------------------------

inline constexpr std::size_t kMostAttachResults = 8;
inline constexpr std::size_t kMostExpected = 64;

// A unit or a program that the configuration names under [expect].
struct alignas(64) ExpectedClient {
  char name[128];                    // zero-terminated
  std::atomic<std::uint32_t> kind;   // ExpectedKind (attendance.h)
  std::atomic<std::uint32_t> state;  // ExpectedState
};

struct alignas(64) Attendance {
  std::atomic<std::uint64_t> attaches[kMostAttachResults];  // by AttachResult
  alignas(64) std::atomic<std::uint32_t> expected_count;
  ExpectedClient expected[kMostExpected];
};

// ---- sizes --------------------------------------------------------------------------------------

static_assert(sizeof(Section) == 16);
static_assert(sizeof(StructureHeader) == 384);
static_assert(offsetof(StructureHeader, heartbeat) == 320);
static_assert(sizeof(LaneInfo) == 64);
static_assert(sizeof(DirectoryEntry) == 192);
static_assert(sizeof(PoolInfo) == 64);
static_assert(sizeof(PortRuleWords) == 32);
static_assert(sizeof(SampleLane) == 64);
static_assert(sizeof(HistorySample) == 2880);
static_assert(sizeof(History) <= std::size_t{2} << 20);
static_assert(sizeof(ExpectedClient) == 192);
static_assert(sizeof(Attendance) == 128 + kMostExpected * sizeof(ExpectedClient));
static_assert(sizeof(PortRules) == 64 + kMaxPortRules * sizeof(PortRuleWords));

}  // namespace portpool
