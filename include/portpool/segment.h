// The checked view of the segment: both memory files, mapped.
//
// Geometry (offsets and counts) is read once from the structure, checked against the sizes of the
// mappings, and kept outside both; afterwards nothing in either can lead an accessor out of bounds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "portpool/endpoint.h"
#include "portpool/hints.h"
#include "portpool/structure.h"

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

// Where a process maps lanes and trace one by one, when they are first needed (shim/parts.h).
struct HintsParts {
  // By index of lane; behind the last lane the trace. Null: not mapped yet.
  std::atomic<void*>* at = nullptr;
  // Maps the part, or says where another thread has; null where that is impossible.
  void* (*map)(const HintsParts& self, std::uint32_t part) = nullptr;
  // Takes what is written to a lane that cannot be mapped.
  LaneHints* spare = nullptr;

  void* find(std::uint32_t part) const {
    void* there = at[part].load(std::memory_order_acquire);
    return there != nullptr ? there : map(*this, part);
  }
};

// Both memory files as a program or a reader sees them. The structure is const throughout: nobody
// but poold (poold/lanes/segment.h) has a way to write it.
class SegmentView {
 public:
  SegmentView() = default;

  // Checks the structure's header and that what it says fits into `structure_size` and `hints_size`
  // bytes, which are mapped at the two places; on `ok` takes it into `out`.
  static SegmentCheck open(const void* structure, std::size_t structure_size, void* hints,
                           std::size_t hints_size, SegmentView& out);

  const StructureHeader& header() const { return *at<StructureHeader>(structure_, 0); }
  HintsHeader& hints() const { return *at<HintsHeader>(hints_, 0); }
  NetworkNamespace network_namespace() const {
    return {header().netns_cookie, header().netns_inode};
  }
  bool same_geometry(const SegmentView& other) const { return sections_ == other.sections_; }

  std::uint32_t directory_size() const { return sections_.directory.count; }
  // Where the search for a key with this hash begins: the hash's upper half scaled to the size.
  std::uint32_t directory_start(std::uint64_t hash) const {
    return static_cast<std::uint32_t>((hash >> 32) * sections_.directory.count >> 32);
  }
  std::uint32_t request_count() const { return sections_.requests.count; }
  std::uint32_t first_calls_count() const { return sections_.first_calls.count; }
  std::uint32_t shard_count() const { return sections_.shards.count; }
  std::uint32_t lane_count() const { return sections_.lane_infos.count; }
  std::uint32_t pool_count() const { return sections_.pools.count; }
  // 0: the segment has none.
  std::uint32_t attached_count() const { return sections_.attached.count; }
  std::uint32_t trace_count() const { return sections_.trace.count; }

  // Any index is valid: it wraps.
  const DirectoryEntry& directory_entry(std::uint32_t i) const {
    return element<DirectoryEntry>(structure_, sections_.directory, i);
  }
  const LaneInfo& lane_info(std::uint32_t i) const {
    return element<LaneInfo>(structure_, sections_.lane_infos, i);
  }
  const PoolInfo& pool(std::uint32_t i) const {
    return element<PoolInfo>(structure_, sections_.pools, i);
  }
  // Null: the segment has none.
  const PortRules* port_rules() const {
    if (sections_.port_rules.count == 0) return nullptr;
    return &element<PortRules>(structure_, sections_.port_rules, 0);
  }
  // Null: the segment has none. In a program only where it maps the whole structure: the shim does
  // not.
  const History* history() const {
    if (sections_.history.count == 0) return nullptr;
    return &element<History>(structure_, sections_.history, 0);
  }
  // The same.
  const Attendance* attendance() const {
    if (sections_.attendance.count == 0) return nullptr;
    return &element<Attendance>(structure_, sections_.attendance, 0);
  }
  // Null: the segment has none.
  BoundPorts* bound_ports() const {
    if (sections_.bound_ports.count == 0) return nullptr;
    return &element<BoundPorts>(hints_, sections_.bound_ports, 0);
  }
  RequestSlot& request(std::uint32_t i) const {
    return element<RequestSlot>(hints_, sections_.requests, i);
  }
  // Only where first_calls_count() is not 0.
  FirstCalls& first_calls(std::uint32_t i) const {
    return element<FirstCalls>(hints_, sections_.first_calls, i);
  }
  // Only where attached_count() is not 0.
  AttachedProcess& attached(std::uint32_t i) const {
    return element<AttachedProcess>(hints_, sections_.attached, i);
  }
  Shard& shard(std::uint32_t i) const { return element<Shard>(hints_, sections_.shards, i); }
  LaneHints& lane_hints(std::uint32_t i) const {
    if (parts_ == nullptr) return element<LaneHints>(hints_, sections_.lane_hints, i);
    void* there = parts_->find(wrapped(i, sections_.lane_hints.count));
    return there != nullptr ? *static_cast<LaneHints*>(there) : *parts_->spare;
  }
  // Only where has_trace().
  TraceEntry& trace(std::uint32_t i) const {
    if (parts_ == nullptr) return element<TraceEntry>(hints_, sections_.trace, i);
    return static_cast<TraceEntry*>(
        parts_->find(sections_.lane_hints.count))[wrapped(i, sections_.trace.count)];
  }

  // Where the hints are mapped in parts, one may be missing: then its ports mean nothing.
  bool has_lane(std::uint32_t i) const {
    return parts_ == nullptr || parts_->find(wrapped(i, sections_.lane_hints.count)) != nullptr;
  }
  bool has_trace() const {
    return parts_ == nullptr || parts_->find(sections_.lane_hints.count) != nullptr;
  }

  // Bytes at the beginning of the structure that hold all that programs read; 0 where a section
  // lies behind that, or there is none.
  std::size_t common_structure_size() const {
    const std::uint64_t end = sections_.history.offset;
    const bool holds = end_of(sections_.directory) <= end && end_of(sections_.lane_infos) <= end &&
                       end_of(sections_.pools) <= end && end_of(sections_.port_rules) <= end;
    return holds ? static_cast<std::size_t>(end) : 0;
  }
  // Bytes at the beginning of the hints that hold all but lanes and trace; 0 where a section lies
  // behind those.
  std::size_t common_hints_size() const {
    const std::uint64_t end = sections_.lane_hints.offset < sections_.trace.offset
                                  ? sections_.lane_hints.offset
                                  : sections_.trace.offset;
    const bool holds = end_of(sections_.requests) <= end && end_of(sections_.shards) <= end &&
                       end_of(sections_.first_calls) <= end &&
                       end_of(sections_.bound_ports) <= end && end_of(sections_.attached) <= end;
    return holds ? static_cast<std::size_t>(end) : 0;
  }
  std::uint64_t lanes_offset() const { return sections_.lane_hints.offset; }
  const Section& trace_section() const { return sections_.trace; }
  // From now on lanes and trace are looked for there. `parts` outlives the view.
  void use_parts(const HintsParts& parts) { parts_ = &parts; }

 private:
  struct Sections {
    Section directory{};
    Section lane_infos{};
    Section pools{};
    Section requests{};
    Section shards{};
    Section lane_hints{};
    Section trace{};
    Section first_calls{};
    Section port_rules{};
    Section bound_ports{};
    Section attached{};
    Section history{};
    Section attendance{};
    friend bool operator==(const Sections&, const Sections&) = default;
  };

  static std::uint32_t wrapped(std::uint32_t index, std::uint32_t count) {
    return index < count ? index : index % count;
  }
  static std::uint64_t end_of(const Section& section) {
    return section.offset + std::uint64_t{section.count} * section.stride;
  }

  // A T at `offset`; const where the memory is.
  template <class T, class Base>
  using Like = std::conditional_t<std::is_const_v<Base>, const T, T>;
  template <class T, class Base>
  static Like<T, Base>* at(Base* base, std::uint64_t offset) {
    return reinterpret_cast<Like<T, Base>*>(static_cast<Like<unsigned char, Base>*>(base) + offset);
  }
  template <class T, class Base>
  static Like<T, Base>& element(Base* base, const Section& section, std::uint32_t index) {
    return *at<T>(base, section.offset + std::uint64_t{wrapped(index, section.count)} * sizeof(T));
  }
  template <class T, class Header>
  static bool fits(const Section& section, std::size_t size) {
    return section.stride == sizeof(T) && section.count > 0 && section.offset % alignof(T) == 0 &&
           section.offset >= sizeof(Header) && section.offset <= size &&
           section.count <= (size - section.offset) / sizeof(T);
  }

  const void* structure_ = nullptr;
  void* hints_ = nullptr;
  const HintsParts* parts_ = nullptr;
  Sections sections_;
};

inline SegmentCheck SegmentView::open(const void* structure, std::size_t structure_size,
                                      void* hints, std::size_t hints_size, SegmentView& out) {
  if (structure == nullptr || structure_size < sizeof(StructureHeader)) {
    return SegmentCheck::not_a_segment;
  }
  const auto& header = *static_cast<const StructureHeader*>(structure);
  const std::uint64_t magic = header.magic.load(std::memory_order_acquire);
  if (magic == 0) return SegmentCheck::being_written;
  if (magic != kMagic) return SegmentCheck::not_a_segment;
  if (header.layout_major != kLayoutMajor) return SegmentCheck::other_layout;
  if (hints == nullptr || hints_size < sizeof(HintsHeader)) return SegmentCheck::bad_geometry;
  SegmentView view;
  view.structure_ = structure;
  view.hints_ = hints;
  view.sections_ = {header.directory,  header.lane_infos,  header.pools,    header.requests,
                    header.shards,     header.lane_hints,  header.trace,    header.first_calls,
                    header.port_rules, header.bound_ports, header.attached, header.history,
                    header.attendance};
  const Sections& s = view.sections_;
  if (!fits<DirectoryEntry, StructureHeader>(s.directory, structure_size) ||
      !fits<LaneInfo, StructureHeader>(s.lane_infos, structure_size) ||
      !fits<PoolInfo, StructureHeader>(s.pools, structure_size) ||
      !fits<RequestSlot, HintsHeader>(s.requests, hints_size) ||
      !fits<Shard, HintsHeader>(s.shards, hints_size) ||
      !fits<LaneHints, HintsHeader>(s.lane_hints, hints_size) ||
      !fits<TraceEntry, HintsHeader>(s.trace, hints_size) ||
      (s.bound_ports != Section{} && !fits<BoundPorts, HintsHeader>(s.bound_ports, hints_size)) ||
      (s.attached != Section{} && !fits<AttachedProcess, HintsHeader>(s.attached, hints_size)) ||
      (s.port_rules != Section{} &&
       !fits<PortRules, StructureHeader>(s.port_rules, structure_size)) ||
      (s.history != Section{} && !fits<History, StructureHeader>(s.history, structure_size)) ||
      (s.attendance != Section{} &&
       !fits<Attendance, StructureHeader>(s.attendance, structure_size)) ||
      (s.first_calls != Section{} && !fits<FirstCalls, HintsHeader>(s.first_calls, hints_size)) ||
      s.lane_infos.count != s.lane_hints.count || s.lane_infos.count > kMaxLanes) {
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

// A consistent copy of an entry.
struct LaneChoice {
  std::uint32_t flags = 0;  // EntryFlags
  std::uint32_t count = 0;  // 0..kLanesPerEntry; 0: no entry for the key
  LaneRef lanes[kLanesPerEntry];
};

// Looks up `key`. Never waits: an entry that is being rewritten counts as absent.
inline bool find_lanes(const SegmentView& view, const LaneKey& key, LaneChoice& out) {
  const std::uint32_t start = view.directory_start(hash_of(key));
  for (std::uint32_t probe = 0; probe < kDirectoryProbes; ++probe) {
    const DirectoryEntry& entry = view.directory_entry(start + probe);
    const std::uint32_t before = entry.sequence.load(std::memory_order_acquire);
    if (before == 0) return false;
    if (before % 2 != 0 || load_key(entry.key) != key) continue;
    out.count = entry.lane_count.load(std::memory_order_relaxed);
    out.flags = entry.flags.load(std::memory_order_relaxed);
    if (out.count > kLanesPerEntry) out.count = kLanesPerEntry;
    for (std::uint32_t i = 0; i < out.count; ++i) {
      out.lanes[i] = LaneRef::unpack(entry.lanes[i].load(std::memory_order_relaxed));
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.sequence.load(std::memory_order_relaxed) != before) return false;
    if (out.count == 0 && (out.flags & EntryFlags::refused) == 0) continue;
    return true;
  }
  return false;
}

}  // namespace portpool
