// The parts of the hints that a program maps when it first needs them: each lane, and the trace. A
// program that uses few destinations has few of them in its address space (and in what mlockall()
// locks), whatever poold keeps for others.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "portpool/segment.h"
#include "shim/mapping.h"

namespace portpool::shim {

class Parts : public HintsParts {
 public:
  // `whole`: the beginning of the hints, mapped, which stays at its place. False: no memory for it.
  bool start(const SegmentView& view, const Mapping& whole);
  // Another file of the same geometry is mapped at the place of `whole`: what was mapped of the old
  // one is replaced, each part in one step.
  void renew();
  void unlock_all() const;

 private:
  struct Extent {
    std::size_t offset;  // of its first page
    std::size_t size;    // whole pages
    std::size_t inside;  // where the part begins in them
  };
  static void* map_now(const HintsParts& self, std::uint32_t part);
  Extent extent_of(std::uint32_t part) const;
  bool map_at(std::uint32_t part, Mapping& out) const;
  void replace(std::uint32_t part) const;

  Mapping whole_;
  std::uint32_t count_ = 0;  // the lanes and the trace
  std::size_t page_ = 0;
  std::uint64_t lanes_offset_ = 0;
  Section trace_{};
  // Grows with each renew(): who mapped a part of the file before replaces it then.
  std::atomic<std::uint32_t> epoch_;
};

}  // namespace portpool::shim
