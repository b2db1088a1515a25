#include "lanes/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>

namespace portpool {
namespace {

// What Boost.Interprocess wants of a thing that can be mapped.
struct Mappable {
  int fd;
  boost::interprocess::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
};

constexpr std::uint64_t kPage = 4096;

class Layout {
 public:
  template <class T>
  Section add(std::uint32_t count) {
    const Section section{end_, sizeof(T), count};
    end_ = (end_ + std::uint64_t{count} * sizeof(T) + kPage - 1) / kPage * kPage;
    return section;
  }
  std::uint64_t end() const { return end_; }

 private:
  std::uint64_t end_ = kPage;
};

struct Sections {
  Section directory, requests, shards, lanes, pools, trace;
  std::uint64_t size;
};

Sections lay_out(const SegmentSize& wanted) {
  // Two entries a lane (asked for with and without a source), at a load that keeps probes short.
  constexpr std::uint32_t kEntriesPerLane = 4;
  Layout layout;
  Sections sections{};
  sections.directory = layout.add<DirectoryEntry>(std::max(64U, wanted.lanes * kEntriesPerLane));
  sections.requests = layout.add<RequestSlot>(kRequestSlots);
  sections.pools = layout.add<PoolInfo>(kMaxPools);
  sections.shards = layout.add<Shard>(wanted.shards);
  sections.lanes = layout.add<Lane>(wanted.lanes);
  sections.trace = layout.add<TraceEntry>(kTraceEntries);
  sections.size = layout.end();
  return sections;
}

Descriptor make_memfd(std::uint64_t size) {
  Descriptor memfd(memfd_create("portpool", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd) throw std::system_error(errno, std::generic_category(), "memfd_create");
  if (ftruncate(memfd.get(), static_cast<off_t>(size)) != 0) {
    throw std::system_error(errno, std::generic_category(), "ftruncate of the segment");
  }
  // Otherwise one client could truncate the file and kill all the others with SIGBUS.
  if (fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    throw std::system_error(errno, std::generic_category(), "sealing the segment");
  }
  return memfd;
}

std::uint64_t clock_ns(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

std::uint64_t make_generation() {
  std::uint64_t generation = 0;
  while (generation == 0) {
    if (getrandom(&generation, sizeof generation, 0) != sizeof generation) {
      generation = clock_ns(CLOCK_BOOTTIME);
    }
  }
  return generation;
}

}  // namespace

Segment::Segment(const SegmentSize& wanted, const NetworkNamespace& network_namespace) {
  const Sections sections = lay_out(wanted);
  memfd_ = make_memfd(sections.size);
  region_ = boost::interprocess::mapped_region(Mappable{memfd_.get()},
                                               boost::interprocess::read_write, 0, sections.size);
  auto& header = *static_cast<SegmentHeader*>(region_.get_address());
  header.layout_major = kLayoutMajor;
  header.layout_minor = kLayoutMinor;
  header.header_size = sizeof header;
  header.segment_size = sections.size;
  header.generation = make_generation();
  header.netns_cookie = network_namespace.cookie;
  header.netns_inode = network_namespace.inode;
  header.started_ns = clock_ns(CLOCK_BOOTTIME);
  header.daemon_pid = getpid();
  std::strncpy(header.daemon_version, PORTPOOL_VERSION, sizeof header.daemon_version - 1);
  header.directory = sections.directory;
  header.requests = sections.requests;
  header.shards = sections.shards;
  header.lanes = sections.lanes;
  header.pools = sections.pools;
  header.trace = sections.trace;
}

void Segment::publish() {
  beat();
  static_cast<SegmentHeader*>(region_.get_address())
      ->magic.store(kMagic, std::memory_order_release);
  if (SegmentView::open(region_.get_address(), region_.get_size(), view_) != SegmentCheck::ok) {
    throw std::logic_error("the new segment does not pass its own check");
  }
}

void Segment::mark_stopped() { header().stopped.store(1, std::memory_order_release); }

void Segment::set_control(const Control& control) {
  header().control.store(control.pack(), std::memory_order_relaxed);
}

void Segment::beat() {
  auto& header = *static_cast<SegmentHeader*>(region_.get_address());
  header.heartbeat_ns.store(clock_ns(CLOCK_MONOTONIC), std::memory_order_relaxed);
  header.heartbeat.fetch_add(1, std::memory_order_relaxed);
}

void Segment::set_pool_names(std::span<const std::string> names) {
  for (std::uint32_t i = 0; i < names.size() && i < view_.pool_count(); ++i) {
    PoolInfo& info = view_.pool(i);
    char name[sizeof info.name] = {};
    names[i].copy(name, sizeof name - 1);
    // The thread that serves metrics may be reading.
    for (std::size_t c = 0; c < sizeof name; ++c) {
      std::atomic_ref(info.name[c]).store(name[c], std::memory_order_relaxed);
    }
  }
}

}  // namespace portpool
