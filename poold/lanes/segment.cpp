#include "lanes/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <system_error>

#include "base/clock.h"
#include "base/mapping.h"
#include "portpool/crash_point.h"
#include "portpool/handover.h"
#include "portpool/memory_file.h"

namespace portpool {
namespace {

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

Descriptor make_memfd(const char* name, std::size_t size) {
  Descriptor memfd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd) throw std::system_error(errno, std::generic_category(), "memfd_create");
  // Who is handed a read-only descriptor must not open the file anew for writing, through /proc:
  // for that the kernel looks at the file's mode.
  if (fchmod(memfd.get(), 0600) != 0) {
    throw std::system_error(errno, std::generic_category(), "fchmod of the segment");
  }
  if (ftruncate(memfd.get(), static_cast<off_t>(size)) != 0) {
    throw std::system_error(errno, std::generic_category(), "ftruncate of the segment");
  }
  // Otherwise one client could truncate the file and kill all the others with SIGBUS.
  if (fcntl(memfd.get(), F_ADD_SEALS, kMemoryFileSeals) != 0) {
    throw std::system_error(errno, std::generic_category(), "sealing the segment");
  }
  return memfd;
}

// A second description of the same file: a descriptor's access mode is for good.
Descriptor reopen_read_only(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  Descriptor read_only(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!read_only) {
    throw std::system_error(errno, std::generic_category(),
                            "opening " + path + " (is /proc mounted?)");
  }
  return read_only;
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

struct SegmentSections {
  Section directory, lane_infos, pools, port_rules, history, attendance;
  std::size_t structure_size;
  Section requests, first_calls, bound_ports, attached, shards, lane_hints, trace;
  std::size_t hints_size;
};

namespace {

SegmentSections lay_out(const SegmentSize& wanted) {
  // Two entries a lane (asked for with and without a source), at a load that keeps probes short.
  constexpr std::uint32_t kEntriesPerLane = 4;
  SegmentSections sections{};
  Layout structure;
  sections.directory = structure.add<DirectoryEntry>(std::max(64U, wanted.lanes * kEntriesPerLane));
  sections.lane_infos = structure.add<LaneInfo>(wanted.lanes);
  sections.pools = structure.add<PoolInfo>(kMaxPools);
  sections.port_rules = structure.add<PortRules>(1);
  // Last: programs leave these out.
  sections.history = structure.add<History>(1);
  sections.attendance = structure.add<Attendance>(1);
  sections.structure_size = structure.end();
  Layout hints;
  sections.requests = hints.add<RequestSlot>(kRequestSlots);
  sections.first_calls = hints.add<FirstCalls>(kFirstCallsPlaces);
  sections.bound_ports = hints.add<BoundPorts>(1);
  sections.attached = hints.add<AttachedProcess>(kAttachedPlaces);
  sections.shards = hints.add<Shard>(wanted.shards);
  sections.lane_hints = hints.add<LaneHints>(wanted.lanes);
  sections.trace = hints.add<TraceEntry>(kTraceEntries);
  sections.hints_size = hints.end();
  return sections;
}

bool are_in(const StructureHeader& header, const SegmentSections& wanted) {
  return header.directory == wanted.directory && header.lane_infos == wanted.lane_infos &&
         header.pools == wanted.pools && header.requests == wanted.requests &&
         header.shards == wanted.shards && header.lane_hints == wanted.lane_hints &&
         header.trace == wanted.trace && header.first_calls == wanted.first_calls &&
         header.port_rules == wanted.port_rules && header.bound_ports == wanted.bound_ports &&
         header.attached == wanted.attached && header.history == wanted.history &&
         header.attendance == wanted.attendance;
}

// A memory file that is open for writing here, and that nobody but this user (and root) can open.
bool is_own_file(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 && info.st_uid == geteuid() && (info.st_mode & 0777) == 0600 &&
         (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR &&
         is_memory_file(fd, static_cast<std::uint64_t>(info.st_size));
}

}  // namespace

void StructureWriter::write_entry(std::uint32_t place, const LaneKey& key,
                                  const LaneChoice& choice) const {
  DirectoryEntry& entry = directory_entry(place);
  const std::uint32_t sequence = entry.sequence.load(std::memory_order_relaxed);
  entry.sequence.store(sequence | 1U, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  store_key(entry.key, key);
  PORTPOOL_CRASH_POINT(in_answer);
  entry.flags.store(choice.flags, std::memory_order_relaxed);
  entry.lane_count.store(choice.count, std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < choice.count; ++i) {
    entry.lanes[i].store(choice.lanes[i].pack(), std::memory_order_relaxed);
  }
  // Even, not 0, and another than before.
  const std::uint32_t next = (sequence | 1U) + 1;
  entry.sequence.store(next == 0 ? 2 : next, std::memory_order_release);
}

Segment::MemoryFile::MemoryFile(const char* name, std::size_t size)
    : file(make_memfd(name, size)),
      region(Mappable{file.get()}, boost::interprocess::read_write, 0, size) {}

Segment::MemoryFile::MemoryFile(Descriptor opened)
    : file(std::move(opened)), region(Mappable{file.get()}, boost::interprocess::read_write) {}

Segment::Segment(const SegmentSize& size, const NetworkNamespace& network_namespace)
    : Segment(lay_out(size), network_namespace) {}

Segment::Segment(const SegmentSections& sections, const NetworkNamespace& network_namespace)
    : structure_(kStructureName, sections.structure_size),
      hints_(kHintsName, sections.hints_size),
      read_only_(reopen_read_only(structure_.file.get())) {
  StructureHeader& header = raw_header();
  header.layout_major = kLayoutMajor;
  header.layout_minor = kLayoutMinor;
  header.header_size = sizeof header;
  header.structure_size = sections.structure_size;
  header.hints_size = sections.hints_size;
  header.generation = make_generation();
  header.netns_cookie = network_namespace.cookie;
  header.netns_inode = network_namespace.inode;
  sign();
  header.directory = sections.directory;
  header.lane_infos = sections.lane_infos;
  header.pools = sections.pools;
  header.port_rules = sections.port_rules;
  header.bound_ports = sections.bound_ports;
  header.attached = sections.attached;
  header.history = sections.history;
  header.attendance = sections.attendance;
  header.requests = sections.requests;
  header.shards = sections.shards;
  header.lane_hints = sections.lane_hints;
  header.trace = sections.trace;
  header.first_calls = sections.first_calls;
}

Segment::Segment(MemoryFiles files)
    : structure_(std::move(files.structure)),
      hints_(std::move(files.hints)),
      read_only_(reopen_read_only(structure_.file.get())) {}

std::optional<Segment> Segment::adopt(MemoryFiles files, const SegmentSize& size,
                                      const NetworkNamespace& network_namespace, std::string& why) {
  if (!is_own_file(files.structure.get()) || !is_own_file(files.hints.get())) {
    why = "they are not a segment's, or somebody else can write them";
    return std::nullopt;
  }
  Segment segment(std::move(files));
  switch (SegmentView::open(segment.structure_.region.get_address(), segment.structure_size(),
                            segment.hints_.region.get_address(), segment.hints_size(),
                            segment.view_)) {
    case SegmentCheck::ok:
      break;
    case SegmentCheck::other_layout:
      why = "they are of another layout";
      return std::nullopt;
    default:
      why = "their header is damaged";
      return std::nullopt;
  }
  const StructureHeader& header = segment.raw_header();
  const SegmentSections wanted = lay_out(size);
  if (header.layout_minor != kLayoutMinor) {
    why = "they are of another layout";
  } else if (header.lane_infos.count != size.lanes) {
    why = "max_lanes is another: it was " + std::to_string(header.lane_infos.count);
  } else if (!are_in(header, wanted) || segment.structure_size() != wanted.structure_size ||
             segment.hints_size() != wanted.hints_size) {
    why = "their sections are not those of this poold, on this number of CPUs";
  } else if (!segment.view_.network_namespace().same_as(network_namespace)) {
    why = "they belong to another network namespace";
  } else {
    return segment;
  }
  return std::nullopt;
}

void Segment::publish() {
  beat();
  raw_header().magic.store(kMagic, std::memory_order_release);
  if (SegmentView::open(structure_.region.get_address(), structure_size(),
                        hints_.region.get_address(), hints_size(), view_) != SegmentCheck::ok) {
    throw std::logic_error("the new segment does not pass its own check");
  }
}

void Segment::sign() {
  StructureHeader& header = raw_header();
  std::atomic_ref(header.started_ns).store(started_ns_, std::memory_order_relaxed);
  std::atomic_ref(header.daemon_pid).store(getpid(), std::memory_order_relaxed);
  store_text(header.daemon_version, PORTPOOL_VERSION);
  header.stopped.store(0, std::memory_order_relaxed);
}

void Segment::mark_stopped(std::uint32_t how) {
  header().stopped.store(how, std::memory_order_release);
}

void Segment::set_control(const Control& control) {
  header().control.store(control.pack(), std::memory_order_relaxed);
}

void Segment::beat() {
  StructureHeader& header = raw_header();
  header.heartbeat_ns.store(clock_ns(CLOCK_MONOTONIC), std::memory_order_relaxed);
  header.heartbeat.fetch_add(1, std::memory_order_relaxed);
}

void Segment::count_attach(AttachResult result) const {
  writer().attendance().attaches[static_cast<std::size_t>(result)].fetch_add(
      1, std::memory_order_relaxed);
}

void Segment::set_pool_names(std::span<const std::string> names) {
  for (std::uint32_t i = 0; i < names.size() && i < view_.pool_count(); ++i) {
    store_text(writer().pool(i).name, names[i]);
  }
}

void Segment::set_port_rules(std::span<const PortRule> rules) {
  PortRules& table = writer().port_rules();
  const std::uint32_t sequence = table.sequence.load(std::memory_order_relaxed) | 1U;
  table.sequence.store(sequence, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(rules.size(), kMaxPortRules));
  for (std::uint32_t i = 0; i < count; ++i) store_rule(table.rows[i], rules[i]);
  table.count.store(count, std::memory_order_relaxed);
  table.sequence.store(sequence + 1, std::memory_order_release);
}

}  // namespace portpool
