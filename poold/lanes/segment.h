// The segment from the owner's side: made here, written here.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/descriptor.h"
#include "portpool/segment.h"

namespace portpool {

struct SegmentSize {
  std::uint32_t lanes = 1024;  // 1..kMaxLanes; 84 KiB of address space each, memory as used
  std::uint32_t shards = 1;    // 1..128
};
inline constexpr std::uint32_t kMaxLanes = 16384;
inline constexpr std::uint32_t kRequestSlots = 256;
inline constexpr std::uint32_t kMaxPools = 64;
// 2 MiB, taken up only once somebody has traced: 0.16 s of 100,000 connects a second.
inline constexpr std::uint32_t kTraceEntries = 16384;

// A memfd that can neither shrink nor grow, mapped for the daemon.
class Segment {
 public:
  // Throws std::system_error.
  Segment(const SegmentSize& size, const NetworkNamespace& network_namespace);

  // Makes the segment valid for clients; everything they need must have been written.
  void publish();
  // Tells clients at once that no heartbeat will come any more.
  void mark_stopped();

  int fd() const { return memfd_.get(); }
  std::size_t size() const { return region_.get_size(); }
  const SegmentView& view() const { return view_; }
  SegmentHeader& header() const { return view_.header(); }

  void set_control(const Control& control);
  void beat();
  void set_pool_names(std::span<const std::string> names);

 private:
  Descriptor memfd_;
  boost::interprocess::mapped_region region_;
  SegmentView view_;
};

}  // namespace portpool
