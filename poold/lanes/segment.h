// The segment from the owner's side: its two memory files, made here, written here.
#pragma once

#include <atomic>
#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/descriptor.h"
#include "portpool/attendance.h"
#include "portpool/port_rules.h"
#include "portpool/segment.h"

namespace portpool {

// Into a text of the structure that others may be reading: they see parts of it, always with an
// end.
template <std::size_t N>
void store_text(char (&to)[N], std::string_view text) {
  for (std::size_t i = 0; i < N; ++i) {
    const char c = i < N - 1 && i < text.size() ? text[i] : '\0';
    std::atomic_ref(to[i]).store(c, std::memory_order_relaxed);
  }
}

struct SegmentSize {
  std::uint32_t lanes = 1024;  // 1..kMaxLanes; 84 KiB of poold's address space each, memory as used
  std::uint32_t shards = 1;    // 1..128
};
inline constexpr std::uint32_t kRequestSlots = 256;
// 64 KiB: 8,192 keys, more than a scanner of 3,000 destinations a second asks for in the two
// seconds that they are remembered.
inline constexpr std::uint32_t kFirstCallsPlaces = 1024;
// 192 KiB, taken up as processes come.
inline constexpr std::uint32_t kAttachedPlaces = 1024;
inline constexpr std::uint32_t kMaxPools = 64;
// 2 MiB, taken up only once somebody has traced: 0.16 s of 100,000 connects a second.
inline constexpr std::uint32_t kTraceEntries = 16384;

// The view of who may write the structure: poold, and tests in its place.
class StructureWriter {
 public:
  explicit StructureWriter(const SegmentView& view) : view_(view) {}

  const SegmentView& view() const { return view_; }
  StructureHeader& header() const { return writable(view_.header()); }
  DirectoryEntry& directory_entry(std::uint32_t i) const {
    return writable(view_.directory_entry(i));
  }
  LaneInfo& lane_info(std::uint32_t i) const { return writable(view_.lane_info(i)); }
  PoolInfo& pool(std::uint32_t i) const { return writable(view_.pool(i)); }
  PortRules& port_rules() const { return writable(*view_.port_rules()); }
  // Only where the segment has one.
  History& history() const { return writable(*view_.history()); }
  Attendance& attendance() const { return writable(*view_.attendance()); }

  // Replaces what stands in the place of the directory.
  void write_entry(std::uint32_t place, const LaneKey& key, const LaneChoice& choice) const;

 private:
  // The memory itself is mapped for writing; only the view's type says const.
  template <class T>
  static T& writable(const T& element) {
    return const_cast<T&>(element);
  }

  SegmentView view_;
};

// The two memory files of an earlier poold's segment, opened for writing.
struct MemoryFiles {
  Descriptor structure;
  Descriptor hints;
};

struct SegmentSections;

// Two memfds that can neither shrink nor grow, mapped for the daemon.
class Segment {
 public:
  // Throws std::system_error.
  Segment(const SegmentSize& size, const NetworkNamespace& network_namespace);

  // Goes on with the files of an earlier poold, which must be such as this one would make: of this
  // user alone, sealed, of the same layout, sizes and network namespace. Else null, and `why` says
  // what is different. Writes nothing.
  static std::optional<Segment> adopt(MemoryFiles files, const SegmentSize& size,
                                      const NetworkNamespace& network_namespace, std::string& why);
  // Says in the header that this process is the one that writes now, since it was started.
  // Generation, lanes and counters go on.
  void sign();

  // Makes the segment valid for clients; everything they need must have been written.
  void publish();
  // Tells clients at once that no heartbeat will come any more: kStopped or kReplaced.
  void mark_stopped(std::uint32_t how = kStopped);

  // For whoever attaches: the structure's descriptor was opened read-only.
  int structure_fd() const { return read_only_.get(); }
  int hints_fd() const { return hints_.file.get(); }
  // For a successor alone.
  int writable_structure_fd() const { return structure_.file.get(); }
  std::size_t structure_size() const { return structure_.region.get_size(); }
  std::size_t hints_size() const { return hints_.region.get_size(); }

  const SegmentView& view() const { return view_; }
  StructureWriter writer() const { return StructureWriter(view_); }
  StructureHeader& header() const { return writer().header(); }

  void set_control(const Control& control);
  void beat();
  void count_attach(AttachResult result) const;
  void set_pool_names(std::span<const std::string> names);
  // At most kMaxPortRules.
  void set_port_rules(std::span<const PortRule> rules);

 private:
  struct MemoryFile {
    MemoryFile(const char* name, std::size_t size);
    explicit MemoryFile(Descriptor opened);
    Descriptor file;
    boost::interprocess::mapped_region region;
  };
  StructureHeader& raw_header() const {
    return *static_cast<StructureHeader*>(structure_.region.get_address());
  }

  Segment(const SegmentSections& sections, const NetworkNamespace& network_namespace);
  explicit Segment(MemoryFiles files);

  MemoryFile structure_;
  MemoryFile hints_;
  Descriptor read_only_;
  SegmentView view_;
  std::uint64_t started_ns_ = clock_ns(CLOCK_BOOTTIME);
};

}  // namespace portpool
