#include "fault/hostile/attached_segment.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <stdexcept>

#include "base/descriptor_passing.h"
#include "portpool/handover.h"

namespace portpool::test {
namespace {

void* map(int fd, std::size_t size, int protection) {
  void* memory = mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("cannot map the segment");
  return memory;
}

}  // namespace

AttachedSegment::AttachedSegment(const std::string& socket) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  socket.copy(name.sun_path, sizeof name.sun_path - 1);
  const Descriptor connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    throw std::runtime_error("no daemon at " + socket);
  }
  HandoverMessage message;
  Received received =
      receive_with_descriptors(connection.get(), std::as_writable_bytes(std::span(&message, 1)));
  if (received.bytes != sizeof message || message.answer != Handover::granted ||
      received.descriptors.size() != 2) {
    throw std::runtime_error("the daemon at " + socket + " hands nothing over");
  }
  structure_size_ = message.structure_size;
  hints_size_ = message.hints_size;
  hints_file_ = std::move(received.descriptors[1]);
  structure_ = map(received.descriptors[0].get(), structure_size_, PROT_READ);
  hints_ = map(hints_file_.get(), hints_size_, PROT_READ | PROT_WRITE);
  if (SegmentView::open(structure_, structure_size_, hints_, hints_size_, view_) !=
      SegmentCheck::ok) {
    throw std::runtime_error("what the daemon hands over is no segment");
  }
}

AttachedSegment::~AttachedSegment() {
  munmap(structure_, structure_size_);
  munmap(hints_, hints_size_);
}

std::span<std::atomic<std::uint64_t>> AttachedSegment::words() const {
  return {static_cast<std::atomic<std::uint64_t>*>(hints_), hints_size_ / sizeof(std::uint64_t)};
}

std::uint32_t AttachedSegment::lanes() const {
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; i < view_.lane_count(); ++i) {
    if (view_.lane_info(i).generation.load(std::memory_order_relaxed) != 0) ++count;
  }
  return count;
}

}  // namespace portpool::test
