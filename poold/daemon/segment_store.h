// The segment's files in the service manager's store of descriptors, from which a poold that is
// started again has them back, however the one before it ended.
#pragma once

#include "daemon/service_manager.h"
#include "lanes/segment.h"

namespace portpool {

class SegmentStore {
 public:
  // Takes what the store has handed over at the start. FDSTORE in the environment says how many
  // descriptors the store has room for (systemd.exec(5), systemd 254).
  explicit SegmentStore(ServiceManager& manager);

  // Empty unless there is one of each.
  MemoryFiles take() { return std::move(files_); }
  // The next poold shall have these files. `adopted`: they may be in the store already, and are not
  // taken out for a moment; other ones are.
  void put(const Segment& segment, bool adopted);
  // Whether the next poold will have it.
  bool keeps() const { return keeps_; }

 private:
  ServiceManager& manager_;
  bool has_room_;
  bool keeps_ = false;
  bool handed_files_ = false;
  MemoryFiles files_;
};

}  // namespace portpool
