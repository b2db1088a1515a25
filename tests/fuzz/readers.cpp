// What status, top, trace, check and metrics make of a segment in which anything may stand: also in
// the structure, for whoever listens at the socket may be no poold.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"
#include "fuzz/damage.h"
#include "lanes/lane_update.h"
#include "lanes/segment.h"
#include "observe/history.h"
#include "observe/metrics.h"
#include "observe/report_text.h"
#include "observe/top/page.h"
#include "observe/trace_text.h"
#include "portpool/attached.h"
#include "portpool/lane.h"

using namespace portpool;
using fuzz::require;

namespace {

constexpr std::uint64_t kNow = 1'800'000'000'000'000'000;

LaneKey key_of(std::uint32_t lane) {
  const Address here = address_from_v4({htonl(0x7F000001)});
  return {here, here, static_cast<std::uint16_t>(9000 + lane)};
}

// A segment in use: lanes with ports, counts, samples, trace entries, an attached process.
void fill(const Segment& segment) {
  const StructureWriter writer = segment.writer();
  const SegmentView& view = segment.view();
  for (std::uint32_t lane = 0; lane < view.lane_count(); ++lane) {
    const PortRange range{20000, 20255};
    LaneInfo& info = writer.lane_info(lane);
    store_key(info.key, key_of(lane));
    info.ports = range.pack();
    info.generation = 7;
    for (std::uint32_t port = range.low; port <= range.high; port += lane + 1) {
      put_port(free_map(view.lane_hints(lane), port % 3), static_cast<std::uint16_t>(port));
    }
    LaneChoice choice;
    choice.count = 1;
    choice.lanes[0] = {lane, 7};
    writer.write_entry(view.directory_start(hash_of(key_of(lane))), key_of(lane), choice);
  }
  writer.header().lanes_touched = view.lane_count();
  for (std::uint64_t t = 0; t < 12; ++t) {
    HistorySample& sample = t < 8 ? writer.history().fine[t] : writer.history().coarse[t - 8];
    sample.at_ns = kNow - (12 - t) * 1'000'000'000;
    sample.at_boot_ns = t * 1'000'000'000;
    sample.counters[0] = static_cast<std::uint32_t>(t * 10);
    sample.lane_count = 1;
    sample.sequence = 2 * (t < 8 ? t : t - 8) + 2;
  }
  Shard& shard = view.shard(0);
  for (auto& histogram : shard.latency) histogram.record(5000);
  for (auto& count : shard.fallbacks) count = 3;
  TraceRecord record;
  record.duration_ns = 5000;
  for (int i = 0; i < 4; ++i) write_trace(view, record);
  take_attached_place(view, {.owner = std::uint64_t{5} << 32 | 99}, 1);
}

// Exact copies on the heap, whose ends the address sanitizer watches.
fuzz::Memory copy_of(const void* from, std::size_t size) {
  auto* memory = static_cast<unsigned char*>(std::aligned_alloc(4096, size));
  require(memory != nullptr && size % 4096 == 0);
  std::memcpy(memory, from, size);
  return {memory, size};
}

struct World {
  Segment segment{{.lanes = 4, .shards = 2}, {}};
  fuzz::Memory structure{};
  fuzz::Memory hints{};

  World() {
    segment.publish();
    fill(segment);
    structure = copy_of(&segment.view().header(), segment.structure_size());
    hints = copy_of(&segment.view().hints(), segment.hints_size());
  }
};

void require_json(const std::string& text) { require(nlohmann::json::accept(text)); }

// The columns of a page hold what can be shown.
void require_plain(const Page& page) {
  for (const Line& line : page.lines) {
    for (const Span& span : line) require(for_terminal(span.text) == span.text);
  }
}

void read_figures(const SegmentView& view) {
  const Report report = read_report(view);
  require_json(report_as_json(report));
  const std::string text = report_as_text(report);
  require(lines_for_terminal(text) == text);
  require(is_utf8(report_summary(report)));
  require(is_utf8(metrics_text(report, DaemonFigures{})));
  const auto history = std::make_shared<const HistoryReading>(view, kNow);
  for (const TroubleKind kind : {TroubleKind::missed, TroubleKind::no_port}) {
    (void)present_trouble(*history, kind);
  }
  const Since since{std::chrono::seconds(60), kNow};
  if (!history->empty()) {
    require_json(history_as_json(*history, report, since));
    const std::string told = history_as_text(*history, report, since);
    require(lines_for_terminal(told) == told);
  }
  Snapshot snapshot;
  snapshot.now = report;
  snapshot.moment = snapshot.window = report.since(report);
  snapshot.seconds = snapshot.window_seconds = 1;
  snapshot.history = history;
  View choice;
  require_plain(draw_page(snapshot, choice, 100, 40));
  go(choice, snapshot, -1);
  choice.histogram = true;
  require_plain(draw_page(snapshot, choice, 60, 20));
}

void read_trace_entries(const SegmentView& view) {
  WideTraceTable wide(true);
  NarrowTraceTable narrow;
  const std::uint64_t head = view.hints().trace_head.load();
  for (std::uint64_t ticket : {head - 2, head - 1, std::uint64_t{0}, std::uint64_t{3}}) {
    TraceRecord record;
    if (read_trace(view, ticket, record) != TraceRead::complete) continue;
    require_json(trace_json(record));
    for (TraceTable* table : {static_cast<TraceTable*>(&wide), static_cast<TraceTable*>(&narrow)}) {
      const std::string row = table->row(record);
      require(lines_for_terminal(row) == row);
    }
    TraceCount count;
    count.add(record);
    require_json(count.as_json());
  }
}

// What programs read, too.
void look_up(const SegmentView& view) {
  for (std::uint32_t lane = 0; lane < 4; ++lane) {
    LaneChoice choice;
    if (find_lanes(view, key_of(lane), choice)) require(choice.count <= kLanesPerEntry);
    LaneIdentity identity;
    if (choice.count > 0 && read_lane(view, choice.lanes[0], identity)) {
      (void)count_lane(view.lane_hints(choice.lanes[0].index), identity.ports);
    }
    (void)required_range(view, destination_of(key_of(lane)));
  }
  for (std::uint32_t i = 0; i < view.attached_count(); i += 61) {
    AttachedRecord record;
    (void)read_attached(view.attached(i), record);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  const auto& header = *reinterpret_cast<const StructureHeader*>(world.structure.base);
  fuzz::Damage damage(header, world.structure, world.hints);
  fuzz::Input input(data, size);
  while (!input.empty()) damage.write_any(input);
  SegmentView view;
  if (SegmentView::open(world.structure.base, world.structure.size, world.hints.base,
                        world.hints.size, view) == SegmentCheck::ok) {
    read_figures(view);
    read_trace_entries(view);
    look_up(view);
    (void)view.common_structure_size();
    (void)view.common_hints_size();
  }
  damage.undo();
  return 0;
}
