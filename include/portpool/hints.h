// The hints: what programs write, byte by byte (docs/layout.md). The second of poold's two files.
//
// Everybody who may attach can write any of it, so nobody trusts any of it. From here a program
// takes one number for each try, a port, which is checked against the lane's range in the structure
// before it is used (segment.h); poold takes ports, questions and counters, each checked or masked.
// A wrong hint costs a retry, the kernel's path, or a look of poold's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "portpool/counters.h"
#include "portpool/fallback.h"
#include "portpool/latency.h"
#include "portpool/structure.h"

namespace portpool {

struct alignas(64) HintsHeader {
  // Tracers: connects are traced until the heartbeat (its low half) reaches this; see trace.h. Each
  // call reads it, so what is written often stands in another line.
  std::atomic<std::uint32_t> trace_until;

  // A futex (shared): clients add 1 and wake when they placed a request.
  alignas(64) std::atomic<std::uint32_t> doorbell;
  std::atomic<std::uint32_t> reserved0;
  std::atomic<std::uint64_t> trace_head;  // clients: the ticket of the next trace entry
};

// ---- requests: a client asks for a lane ---------------------------------------------------------

enum class RequestState : std::uint32_t { empty = 0, writing = 1, ready = 2 };

struct alignas(64) RequestSlot {
  std::atomic<std::uint32_t> state;  // RequestState
  std::atomic<std::uint32_t> reserved;
  std::atomic<std::uint64_t> key[kKeyWords];
};

// ---- first calls: a lane is asked for when a key comes again ------------------------------------

// Keys that were asked for once lately, by any program; see first_calls.h. Bits 16-63 of a mark: of
// the key's hash; bits 0-15: the heartbeat at that call. 0: none.
inline constexpr std::size_t kMarksPerPlace = 8;
struct alignas(64) FirstCalls {
  std::atomic<std::uint64_t> marks[kMarksPerPlace];
};

// ---- bound ports: the union over all lanes, with the bind strategy
// -------------------------------

// Ports that sockets of the pool are bound to, for whatever destination. Clients add what they
// bind; poold takes away what the kernel does not show any more.
struct alignas(64) BoundPorts {
  std::atomic<std::uint32_t> count;  // of the bits
  // Where a port's bit stands: port_place.h.
  alignas(64) std::atomic<std::uint64_t> words[1024];
};

// ---- lanes: the bits of their ports -------------------------------------------------------------

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

inline constexpr std::uint32_t kConnectsPerCount = 8;

struct alignas(4096) LaneHints {
  // What a claim reads first.
  std::atomic<std::uint32_t> ring[2];    // FreeRing, by Parity: see port_map.h
  std::atomic<std::uint32_t> attention;  // clients: 1, poold shall look at the lane now; poold: 0
  // Bit g: mid[map][g] has words of even ports; bit 16 + g: of odd ones.
  std::atomic<std::uint32_t> top[kPortMaps];

  // Events, counted by clients.
  alignas(64) std::atomic<std::uint64_t> rejections;
  std::atomic<std::uint64_t> exhausted;       // a claim found nothing
  std::atomic<std::uint64_t> last_used_beat;  // heartbeat at some recent claim
  std::atomic<std::uint64_t> next_probe_ns;   // fail-fast: when the kernel is asked again
  // fail-fast: the LaneInfo::full that the kernel has contradicted by giving a port.
  std::atomic<std::uint32_t> relieved;
  // Connections whose destination was found to be rewritten on the way (cgroup/connect4), counted
  // by clients.
  std::atomic<std::uint32_t> rewritten;
  // connect() calls that came here, by either path: about so many. One in kConnectsPerCount adds
  // kConnectsPerCount, so that programs seldom meet in this line.
  std::atomic<std::uint64_t> connects;

  // bit w%64 of mid[map][w/64]: words[map][w] is not 0. Where a port's bit stands: port_place.h.
  alignas(64) std::atomic<std::uint64_t> mid[kPortMaps][kPortMidWords];
  alignas(4096) std::atomic<std::uint64_t> words[kPortMaps][kPortWords];
};

// ---- shards: counters and latency, one per CPU
// ---------------------------------------------------

struct alignas(4096) Shard {
  std::atomic<std::uint64_t> counters[64];   // by Counter
  std::atomic<std::uint64_t> fallbacks[64];  // by FallbackReason
  LatencyHistogram latency[kHistograms];     // by histogram_index()
};
static_assert(kCounters <= 64 && kFallbackReasons <= 64);

// ---- trace: the latest connects, while somebody listens
// ------------------------------------------

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

// ---- attached processes -------------------------------------------------------------------------

// Who uses the segment, as each process says of itself, to be shown: see attached.h.
inline constexpr std::size_t kAttachedReasons = 27;
struct alignas(64) AttachedProcess {
  // Whose it is: pid, in its own pid namespace, in bits 0-31, a random number above; 0: nobody's.
  std::atomic<std::uint64_t> owner;
  std::atomic<std::uint64_t> ready;          // the same, once the rest of this line is written
  std::atomic<std::uint64_t> since_ns;       // CLOCK_BOOTTIME when the process took the entry
  std::atomic<std::uint64_t> comm[2];        // 16 characters, filled up with 0
  std::atomic<std::uint64_t> pid_namespace;  // st_ino of /proc/self/ns/pid; 0: not known
  std::atomic<std::uint32_t> mode;           // 0 pool, 1 observe

  alignas(64) std::atomic<std::uint64_t> connects[2];      // by Route
  std::atomic<std::uint32_t> beat;                         // heartbeat at some recent connect
  std::atomic<std::uint32_t> fallbacks[kAttachedReasons];  // by FallbackReason; they wrap
};
static_assert(kFallbackReasons <= kAttachedReasons);

// ---- sizes --------------------------------------------------------------------------------------

static_assert(sizeof(HintsHeader) == 128);
static_assert(offsetof(HintsHeader, doorbell) == 64);
static_assert(sizeof(RequestSlot) == 64);
static_assert(sizeof(FirstCalls) == 64);
static_assert(sizeof(BoundPorts) == 64 + kPortWords * 8);
static_assert(offsetof(LaneHints, rejections) == 64);
static_assert(offsetof(LaneHints, mid) == 128);
static_assert(offsetof(LaneHints, words) == 4096);
static_assert(sizeof(LaneHints) == 4096 + kPortMaps * kPortWords * 8);
static_assert(sizeof(LatencyHistogram) == 64 + kLatencyBuckets * 8);
static_assert(sizeof(Shard) == 61440);
static_assert(sizeof(TraceEntry) == 128);
static_assert(sizeof(AttachedProcess) == 192);
static_assert(offsetof(AttachedProcess, connects) == 64);

}  // namespace portpool
