// The segment as a process that may attach gets it: over the daemon's socket, as the shim does.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include "base/descriptor.h"
#include "portpool/segment.h"

namespace portpool::test {

class AttachedSegment {
 public:
  // Throws std::runtime_error when the daemon at `socket` hands nothing over.
  explicit AttachedSegment(const std::string& socket);
  ~AttachedSegment();
  AttachedSegment(const AttachedSegment&) = delete;
  AttachedSegment& operator=(const AttachedSegment&) = delete;

  const SegmentView& view() const { return view_; }
  const StructureHeader& header() const { return view_.header(); }
  // All of the hints, from the first byte of the file to the last.
  std::span<std::atomic<std::uint64_t>> words() const;
  int hints_fd() const { return hints_file_.get(); }

  // The lanes in service.
  std::uint32_t lanes() const;

 private:
  Descriptor hints_file_;
  void* structure_ = nullptr;
  void* hints_ = nullptr;
  std::size_t structure_size_ = 0;
  std::size_t hints_size_ = 0;
  SegmentView view_;
};

}  // namespace portpool::test
