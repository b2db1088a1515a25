// The trace: what each connect() did, one entry a call, in a ring that overwrites its oldest ones.
//
// Off unless somebody listens. A tracer stores in `trace_until` the heartbeat up to which it wants
// entries, and stores a later one while it goes on; a tracer that was killed stops doing so. At
// most kTraceLeaseBeats from now are believed, so no value left behind keeps the trace on.
//
// Writers never wait and never take over from each other: one that finds its entry being written by
// somebody a whole ring behind (or dead), or already written by somebody a whole ring ahead, drops
// its record. So a complete entry has one writer, and what was dropped shows to the reader as a
// ticket without an entry.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "portpool/endpoint.h"
#include "portpool/fallback.h"
#include "portpool/latency.h"
#include "portpool/segment.h"

namespace portpool {

inline constexpr std::uint32_t kTraceLeaseBeats = 30;  // 3 s

// True while a tracer listens.
inline bool is_traced(const SegmentView& view) {
  const std::uint32_t until = view.hints().trace_until.load(std::memory_order_relaxed);
  if (until == 0) return false;
  const auto beat =
      static_cast<std::uint32_t>(view.header().heartbeat.load(std::memory_order_relaxed));
  return until - beat - 1 < kTraceLeaseBeats;
}

// For tracers: listen for another kTraceLeaseBeats. False: the lease had run out before (or this is
// the first one), so calls may have gone by without an entry.
inline bool renew_trace(const SegmentView& view) {
  const bool was_on = is_traced(view);
  const auto beat =
      static_cast<std::uint32_t>(view.header().heartbeat.load(std::memory_order_relaxed));
  const std::uint32_t until = beat + kTraceLeaseBeats;
  // 0 means off; one beat less does as well.
  view.hints().trace_until.store(until == 0 ? ~std::uint32_t{0} : until, std::memory_order_relaxed);
  return was_on;
}

// Why a call did not take a port from the pool: nothing, a FallbackReason (from 1 on), or one of
// the others below.
enum class TraceWhy : std::uint8_t { nothing = 0, own_port = 128, failed_fast = 129 };

constexpr TraceWhy trace_why(FallbackReason reason) {
  return static_cast<TraceWhy>(static_cast<std::uint32_t>(reason) + 1);
}
static_assert(kFallbackReasons < 128);

struct TraceComm {
  std::uint64_t words[2] = {};  // 16 characters as they stand in memory
};

struct TraceRecord {
  std::uint64_t started_ns = 0;  // CLOCK_REALTIME
  std::uint64_t duration_ns = 0;
  TraceComm comm;
  Endpoint source;  // port 0: not known
  Endpoint destination;
  std::uint32_t pid = 0;
  int error = 0;
  Route arm = Route::pool;
  Route path = Route::pool;
  bool blocking = true;
  TraceWhy why = TraceWhy::nothing;
};

namespace detail {

inline std::uint32_t pack_call(const TraceRecord& r) {
  return static_cast<std::uint32_t>(r.arm) | static_cast<std::uint32_t>(r.path) << 1 |
         (r.blocking ? 4U : 0U) | static_cast<std::uint32_t>(r.why) << 8;
}

inline void unpack_call(std::uint32_t call, TraceRecord& r) {
  r.arm = static_cast<Route>(call & 1);
  r.path = static_cast<Route>(call >> 1 & 1);
  r.blocking = (call & 4) != 0;
  r.why = static_cast<TraceWhy>(call >> 8 & 0xFF);
}

inline void store_words(std::atomic<std::uint64_t> (&out)[2], std::uint64_t a, std::uint64_t b) {
  out[0].store(a, std::memory_order_relaxed);
  out[1].store(b, std::memory_order_relaxed);
}

inline Address load_address(const std::atomic<std::uint64_t> (&words)[2]) {
  return {words[0].load(std::memory_order_relaxed), words[1].load(std::memory_order_relaxed)};
}

}  // namespace detail

// Leaves a record. Lock-free, bounded, safe in signal handlers.
inline void write_trace(const SegmentView& view, const TraceRecord& r) {
  const std::uint64_t ticket = view.hints().trace_head.fetch_add(1, std::memory_order_relaxed);
  TraceEntry& e = view.trace(static_cast<std::uint32_t>(ticket % view.trace_count()));
  const std::uint64_t writing = 2 * ticket + 1;
  std::uint64_t seen = e.sequence.load(std::memory_order_relaxed);
  // Acquire: behind what the entry's last writer has written, and not, on some machine, before it.
  if (seen % 2 != 0 || seen > writing ||
      !e.sequence.compare_exchange_strong(seen, writing, std::memory_order_acquire,
                                          std::memory_order_relaxed)) {
    return;
  }
  std::atomic_thread_fence(std::memory_order_release);
  e.started_ns.store(r.started_ns, std::memory_order_relaxed);
  e.duration_ns.store(r.duration_ns, std::memory_order_relaxed);
  detail::store_words(e.comm, r.comm.words[0], r.comm.words[1]);
  detail::store_words(e.source, r.source.address.high, r.source.address.low);
  detail::store_words(e.destination, r.destination.address.high, r.destination.address.low);
  e.pid.store(r.pid, std::memory_order_relaxed);
  e.error.store(static_cast<std::uint32_t>(r.error), std::memory_order_relaxed);
  e.source_port.store(r.source.port, std::memory_order_relaxed);
  e.destination_port.store(r.destination.port, std::memory_order_relaxed);
  e.call.store(detail::pack_call(r), std::memory_order_relaxed);
  e.sequence.store(writing + 1, std::memory_order_release);
}

enum class TraceRead {
  complete,
  pending,  // the ticket's writer has not finished
  lost,     // overwritten, torn, or dropped by its writer
};

// Reads the entry of `ticket`, which must be below trace_head.
inline TraceRead read_trace(const SegmentView& view, std::uint64_t ticket, TraceRecord& out) {
  const TraceEntry& e = view.trace(static_cast<std::uint32_t>(ticket % view.trace_count()));
  const std::uint64_t complete = 2 * ticket + 2;
  const std::uint64_t before = e.sequence.load(std::memory_order_acquire);
  if (before != complete) {
    const bool beginning = before < complete && before % 2 == 0;
    return beginning || before == complete - 1 ? TraceRead::pending : TraceRead::lost;
  }
  out.started_ns = e.started_ns.load(std::memory_order_relaxed);
  out.duration_ns = e.duration_ns.load(std::memory_order_relaxed);
  for (int i = 0; i < 2; ++i) out.comm.words[i] = e.comm[i].load(std::memory_order_relaxed);
  out.source = {detail::load_address(e.source), e.source_port.load(std::memory_order_relaxed)};
  out.destination = {detail::load_address(e.destination),
                     e.destination_port.load(std::memory_order_relaxed)};
  out.pid = e.pid.load(std::memory_order_relaxed);
  out.error = static_cast<int>(e.error.load(std::memory_order_relaxed));
  detail::unpack_call(e.call.load(std::memory_order_relaxed), out);
  std::atomic_thread_fence(std::memory_order_acquire);
  return e.sequence.load(std::memory_order_relaxed) == complete ? TraceRead::complete
                                                                : TraceRead::lost;
}

}  // namespace portpool
