#include "daemon/segment_store.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "portpool/handover.h"

namespace portpool {
namespace {

constexpr int kFiles = 2;

bool has_room() {
  const char* text = std::getenv("FDSTORE");
  int room = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), room);
  return room >= kFiles;
}

}  // namespace

SegmentStore::SegmentStore(ServiceManager& manager) : manager_(manager), has_room_(has_room()) {
  auto structure = manager_.take(kStructureName);
  auto hints = manager_.take(kHintsName);
  // Of more than one segment, nobody knows which file belongs to which.
  if (structure.size() != 1 || hints.size() != 1) return;
  files_ = {std::move(structure[0].descriptor), std::move(hints[0].descriptor)};
  handed_files_ = true;
}

void SegmentStore::put(const Segment& segment, bool adopted) {
  if (!has_room_) return;
  keeps_ = adopted && handed_files_;
  if (keeps_) return;
  if (!adopted) {
    manager_.forget(kStructureName);
    manager_.forget(kHintsName);
  }
  // Files that a predecessor has put there are known to systemd for the same, and not put twice.
  const int structure[] = {segment.writable_structure_fd()};
  const int hints[] = {segment.hints_fd()};
  keeps_ = manager_.store(kStructureName, structure) && manager_.store(kHintsName, hints);
}

}  // namespace portpool
