// The checked view of a mapped segment.
//
// Geometry (offsets and counts) is read once, checked against the size of the mapping, and kept
// outside the segment; afterwards nothing in the segment can lead an accessor out of bounds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "portpool/endpoint.h"
#include "portpool/layout.h"

namespace portpool {

enum class SegmentCheck {
  ok,
  being_written,    // magic is still 0
  not_a_segment,    // wrong magic, or too small for a header
  other_layout,     // another major version
  bad_geometry,     // sections outside the mapping, or of another element size
  other_namespace,  // another network namespace
};

// A process's network namespace. A cookie of 0 means that the kernel has none (before Linux 5.14).
struct NetworkNamespace {
  std::uint64_t cookie = 0;
  std::uint64_t inode = 0;

  // Compares by cookie where both have one, else by inode (unique among the live ones of one boot).
  bool same_as(const NetworkNamespace& other) const {
    if (cookie != 0 && other.cookie != 0) return cookie == other.cookie;
    return inode == other.inode;
  }
};

class SegmentView {
 public:
  SegmentView() = default;

  // Checks the header at `base`, of which `size` bytes are mapped, and on `ok` takes it into `out`.
  static SegmentCheck open(void* base, std::size_t size, SegmentView& out);

  SegmentHeader& header() const { return *at<SegmentHeader>(0); }
  NetworkNamespace network_namespace() const {
    return {header().netns_cookie, header().netns_inode};
  }
  bool same_geometry(const SegmentView& other) const {
    return directory_ == other.directory_ && requests_ == other.requests_ &&
           shards_ == other.shards_ && lanes_ == other.lanes_ && pools_ == other.pools_ &&
           trace_ == other.trace_;
  }

  std::uint32_t directory_size() const { return directory_.count; }
  // Where the search for a key with this hash begins: the hash's upper half scaled to the size.
  std::uint32_t directory_start(std::uint64_t hash) const {
    return static_cast<std::uint32_t>((hash >> 32) * directory_.count >> 32);
  }
  std::uint32_t request_count() const { return requests_.count; }
  std::uint32_t shard_count() const { return shards_.count; }
  std::uint32_t lane_count() const { return lanes_.count; }
  std::uint32_t pool_count() const { return pools_.count; }
  // 0: the daemon has no trace ring.
  std::uint32_t trace_count() const { return trace_.count; }

  // Any index is valid: it wraps.
  DirectoryEntry& directory_entry(std::uint32_t i) const {
    return element<DirectoryEntry>(directory_, i);
  }
  RequestSlot& request(std::uint32_t i) const { return element<RequestSlot>(requests_, i); }
  Shard& shard(std::uint32_t i) const { return element<Shard>(shards_, i); }
  Lane& lane(std::uint32_t i) const { return element<Lane>(lanes_, i); }
  PoolInfo& pool(std::uint32_t i) const { return element<PoolInfo>(pools_, i); }
  // Only where trace_count() is not 0.
  TraceEntry& trace(std::uint32_t i) const { return element<TraceEntry>(trace_, i); }

 private:
  template <class T>
  T* at(std::uint64_t offset) const {
    return reinterpret_cast<T*>(static_cast<unsigned char*>(base_) + offset);
  }
  template <class T>
  T& element(const Section& section, std::uint32_t index) const {
    const std::uint32_t i = index < section.count ? index : index % section.count;
    return *at<T>(section.offset + std::uint64_t{i} * sizeof(T));
  }
  template <class T>
  static bool fits(const Section& section, std::size_t size) {
    return section.stride == sizeof(T) && section.count > 0 && section.offset % alignof(T) == 0 &&
           section.offset >= sizeof(SegmentHeader) && section.offset <= size &&
           section.count <= (size - section.offset) / sizeof(T);
  }

  void* base_ = nullptr;
  Section directory_{};
  Section requests_{};
  Section shards_{};
  Section lanes_{};
  Section pools_{};
  Section trace_{};
};

inline SegmentCheck SegmentView::open(void* base, std::size_t size, SegmentView& out) {
  if (base == nullptr || size < sizeof(SegmentHeader)) return SegmentCheck::not_a_segment;
  const auto& header = *static_cast<const SegmentHeader*>(base);
  const std::uint64_t magic = header.magic.load(std::memory_order_acquire);
  if (magic == 0) return SegmentCheck::being_written;
  if (magic != kMagic) return SegmentCheck::not_a_segment;
  if (header.layout_major != kLayoutMajor) return SegmentCheck::other_layout;
  SegmentView view;
  view.base_ = base;
  view.directory_ = header.directory;
  view.requests_ = header.requests;
  view.shards_ = header.shards;
  view.lanes_ = header.lanes;
  view.pools_ = header.pools;
  view.trace_ = header.trace;
  if (!fits<DirectoryEntry>(view.directory_, size) || !fits<RequestSlot>(view.requests_, size) ||
      !fits<Shard>(view.shards_, size) || !fits<Lane>(view.lanes_, size) ||
      !fits<PoolInfo>(view.pools_, size) ||
      !(view.trace_ == Section{} || fits<TraceEntry>(view.trace_, size))) {
    return SegmentCheck::bad_geometry;
  }
  out = view;
  return SegmentCheck::ok;
}

// ---- keys in the segment
// ----------------------------------------------------------------------------

inline void store_key(std::atomic<std::uint64_t> (&words)[kKeyWords], const LaneKey& key) {
  const std::uint64_t values[kKeyWords] = {key.source.high, key.source.low, key.destination.high,
                                           key.destination.low, key.destination_port};
  for (std::size_t i = 0; i < kKeyWords; ++i) words[i].store(values[i], std::memory_order_relaxed);
}

inline LaneKey load_key(const std::atomic<std::uint64_t> (&words)[kKeyWords]) {
  std::uint64_t values[kKeyWords];
  for (std::size_t i = 0; i < kKeyWords; ++i) values[i] = words[i].load(std::memory_order_relaxed);
  return {{values[0], values[1]}, {values[2], values[3]}, static_cast<std::uint16_t>(values[4])};
}

// ---- directory
// ----------------------------------------------------------------------------------------

// A consistent copy of an entry. Lane indices still have to go through SegmentView::lane().
struct LaneChoice {
  std::uint32_t flags = 0;  // EntryFlags
  std::uint32_t count = 0;  // 0..kLanesPerEntry; 0: no entry for the key
  std::uint16_t lanes[kLanesPerEntry];
};

// Looks up `key`. Never waits: an entry that is being rewritten counts as absent.
inline bool find_lanes(const SegmentView& view, const LaneKey& key, LaneChoice& out) {
  const std::uint32_t start = view.directory_start(hash_of(key));
  for (std::uint32_t probe = 0; probe < kDirectoryProbes; ++probe) {
    DirectoryEntry& entry = view.directory_entry(start + probe);
    const std::uint32_t before = entry.sequence.load(std::memory_order_acquire);
    if (before == 0) return false;
    if (before % 2 != 0 || load_key(entry.key) != key) continue;
    out.count = entry.lane_count.load(std::memory_order_relaxed);
    out.flags = entry.flags.load(std::memory_order_relaxed);
    if (out.count > kLanesPerEntry) out.count = kLanesPerEntry;
    for (std::uint32_t i = 0; i < out.count; ++i) {
      out.lanes[i] = entry.lanes[i].load(std::memory_order_relaxed);
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.sequence.load(std::memory_order_relaxed) != before) return false;
    if (out.count == 0 && (out.flags & EntryFlags::refused) == 0) continue;
    return true;
  }
  return false;
}

// For poold alone: replaces what stands in `entry`.
inline void write_entry(DirectoryEntry& entry, const LaneKey& key, const LaneChoice& choice) {
  const std::uint32_t sequence = entry.sequence.load(std::memory_order_relaxed);
  entry.sequence.store(sequence | 1U, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  store_key(entry.key, key);
  entry.flags.store(choice.flags, std::memory_order_relaxed);
  entry.lane_count.store(choice.count, std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < choice.count; ++i) {
    entry.lanes[i].store(choice.lanes[i], std::memory_order_relaxed);
  }
  // Even, not 0, and another than before, whatever a client may have scribbled there.
  const std::uint32_t next = (sequence | 1U) + 1;
  entry.sequence.store(next == 0 ? 2 : next, std::memory_order_release);
}

}  // namespace portpool
