// docs/layout.md tells other programs where each field lies: it must be what the compiler made.
#include "portpool/hints.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <type_traits>

namespace portpool::test {
namespace {

const std::string kSource = PORTPOOL_SOURCE;

struct Place {
  std::size_t offset;
  std::size_t size;
  friend bool operator==(const Place&, const Place&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Place& p) {
    return out << "offset " << p.offset << ", size " << p.size;
  }
};

struct Struct {
  std::size_t size = 0;
  std::map<std::string, Place> fields;
};
using Structs = std::map<std::string, Struct>;

#define PORTPOOL_STRUCT(type)                   \
  {                                             \
#type, { sizeof(type), fields_of_##type() } \
  }
#define PORTPOOL_FIELD(type, name)                      \
  {                                                     \
#name, { offsetof(type, name), sizeof(type::name) } \
  }

std::map<std::string, Place> fields_of_Section() {
  return {PORTPOOL_FIELD(Section, offset), PORTPOOL_FIELD(Section, stride),
          PORTPOOL_FIELD(Section, count)};
}

std::map<std::string, Place> fields_of_StructureHeader() {
  using H = StructureHeader;
  return {PORTPOOL_FIELD(H, magic),
          PORTPOOL_FIELD(H, layout_major),
          PORTPOOL_FIELD(H, layout_minor),
          PORTPOOL_FIELD(H, header_size),
          PORTPOOL_FIELD(H, structure_size),
          PORTPOOL_FIELD(H, hints_size),
          PORTPOOL_FIELD(H, generation),
          PORTPOOL_FIELD(H, netns_cookie),
          PORTPOOL_FIELD(H, netns_inode),
          PORTPOOL_FIELD(H, started_ns),
          PORTPOOL_FIELD(H, daemon_pid),
          PORTPOOL_FIELD(H, reserved0),
          PORTPOOL_FIELD(H, daemon_version),
          PORTPOOL_FIELD(H, directory),
          PORTPOOL_FIELD(H, lane_infos),
          PORTPOOL_FIELD(H, pools),
          PORTPOOL_FIELD(H, requests),
          PORTPOOL_FIELD(H, shards),
          PORTPOOL_FIELD(H, lane_hints),
          PORTPOOL_FIELD(H, trace),
          PORTPOOL_FIELD(H, first_calls),
          PORTPOOL_FIELD(H, port_rules),
          PORTPOOL_FIELD(H, bound_ports),
          PORTPOOL_FIELD(H, history),
          PORTPOOL_FIELD(H, reserved1),
          PORTPOOL_FIELD(H, attached),
          PORTPOOL_FIELD(H, attendance),
          PORTPOOL_FIELD(H, heartbeat),
          PORTPOOL_FIELD(H, heartbeat_ns),
          PORTPOOL_FIELD(H, control),
          PORTPOOL_FIELD(H, port_range),
          PORTPOOL_FIELD(H, clients),
          PORTPOOL_FIELD(H, stopped),
          PORTPOOL_FIELD(H, reconcile_passes),
          PORTPOOL_FIELD(H, reconcile_cpu_ns),
          PORTPOOL_FIELD(H, attaches_refused),
          PORTPOOL_FIELD(H, lanes_touched),
          PORTPOOL_FIELD(H, ab_block)};
}

std::map<std::string, Place> fields_of_LaneInfo() {
  using I = LaneInfo;
  return {PORTPOOL_FIELD(I, generation), PORTPOOL_FIELD(I, ports), PORTPOOL_FIELD(I, pool),
          PORTPOOL_FIELD(I, low),        PORTPOOL_FIELD(I, full),  PORTPOOL_FIELD(I, crowding),
          PORTPOOL_FIELD(I, key)};
}

std::map<std::string, Place> fields_of_DirectoryEntry() {
  using E = DirectoryEntry;
  return {PORTPOOL_FIELD(E, sequence), PORTPOOL_FIELD(E, flags), PORTPOOL_FIELD(E, key),
          PORTPOOL_FIELD(E, lane_count), PORTPOOL_FIELD(E, lanes)};
}

std::map<std::string, Place> fields_of_HintsHeader() {
  using H = HintsHeader;
  return {PORTPOOL_FIELD(H, trace_until), PORTPOOL_FIELD(H, doorbell), PORTPOOL_FIELD(H, reserved0),
          PORTPOOL_FIELD(H, trace_head)};
}

std::map<std::string, Place> fields_of_RequestSlot() {
  return {PORTPOOL_FIELD(RequestSlot, state), PORTPOOL_FIELD(RequestSlot, reserved),
          PORTPOOL_FIELD(RequestSlot, key)};
}

std::map<std::string, Place> fields_of_FirstCalls() { return {PORTPOOL_FIELD(FirstCalls, marks)}; }

std::map<std::string, Place> fields_of_LaneHints() {
  using L = LaneHints;
  return {PORTPOOL_FIELD(L, ring),          PORTPOOL_FIELD(L, attention),
          PORTPOOL_FIELD(L, top),           PORTPOOL_FIELD(L, rejections),
          PORTPOOL_FIELD(L, exhausted),     PORTPOOL_FIELD(L, last_used_beat),
          PORTPOOL_FIELD(L, next_probe_ns), PORTPOOL_FIELD(L, relieved),
          PORTPOOL_FIELD(L, rewritten),     PORTPOOL_FIELD(L, connects),
          PORTPOOL_FIELD(L, mid),           PORTPOOL_FIELD(L, words)};
}

std::map<std::string, Place> fields_of_Shard() {
  return {PORTPOOL_FIELD(Shard, counters), PORTPOOL_FIELD(Shard, fallbacks),
          PORTPOOL_FIELD(Shard, latency)};
}

std::map<std::string, Place> fields_of_LatencyHistogram() {
  using L = LatencyHistogram;
  return {PORTPOOL_FIELD(L, sum_ns),  PORTPOOL_FIELD(L, max_ns),      PORTPOOL_FIELD(L, buckets),
          PORTPOOL_FIELD(L, cpu_ns),  PORTPOOL_FIELD(L, cpu_samples), PORTPOOL_FIELD(L, errors),
          PORTPOOL_FIELD(L, no_port), PORTPOOL_FIELD(L, reserved)};
}

std::map<std::string, Place> fields_of_PoolInfo() { return {PORTPOOL_FIELD(PoolInfo, name)}; }

std::map<std::string, Place> fields_of_BoundPorts() {
  return {PORTPOOL_FIELD(BoundPorts, count), PORTPOOL_FIELD(BoundPorts, words)};
}

std::map<std::string, Place> fields_of_PortRules() {
  return {PORTPOOL_FIELD(PortRules, sequence), PORTPOOL_FIELD(PortRules, count),
          PORTPOOL_FIELD(PortRules, rows)};
}

std::map<std::string, Place> fields_of_PortRuleWords() {
  using R = PortRuleWords;
  return {PORTPOOL_FIELD(R, prefix), PORTPOOL_FIELD(R, kind), PORTPOOL_FIELD(R, port),
          PORTPOOL_FIELD(R, range), PORTPOOL_FIELD(R, reserved)};
}

std::map<std::string, Place> fields_of_AttachedProcess() {
  using A = AttachedProcess;
  return {
      PORTPOOL_FIELD(A, owner),    PORTPOOL_FIELD(A, ready),         PORTPOOL_FIELD(A, since_ns),
      PORTPOOL_FIELD(A, comm),     PORTPOOL_FIELD(A, pid_namespace), PORTPOOL_FIELD(A, mode),
      PORTPOOL_FIELD(A, connects), PORTPOOL_FIELD(A, beat),          PORTPOOL_FIELD(A, fallbacks)};
}

std::map<std::string, Place> fields_of_TraceEntry() {
  using E = TraceEntry;
  return {PORTPOOL_FIELD(E, sequence),    PORTPOOL_FIELD(E, started_ns),
          PORTPOOL_FIELD(E, duration_ns), PORTPOOL_FIELD(E, comm),
          PORTPOOL_FIELD(E, source),      PORTPOOL_FIELD(E, destination),
          PORTPOOL_FIELD(E, pid),         PORTPOOL_FIELD(E, error),
          PORTPOOL_FIELD(E, source_port), PORTPOOL_FIELD(E, destination_port),
          PORTPOOL_FIELD(E, call)};
}

std::map<std::string, Place> fields_of_History() {
  return {PORTPOOL_FIELD(History, fine), PORTPOOL_FIELD(History, coarse)};
}

std::map<std::string, Place> fields_of_HistorySample() {
  using S = HistorySample;
  return {PORTPOOL_FIELD(S, sequence),   PORTPOOL_FIELD(S, at_ns),
          PORTPOOL_FIELD(S, at_boot_ns), PORTPOOL_FIELD(S, control),
          PORTPOOL_FIELD(S, clients),    PORTPOOL_FIELD(S, lanes_in_service),
          PORTPOOL_FIELD(S, lane_count), PORTPOOL_FIELD(S, reserved),
          PORTPOOL_FIELD(S, counters),   PORTPOOL_FIELD(S, fallbacks),
          PORTPOOL_FIELD(S, latency),    PORTPOOL_FIELD(S, lanes)};
}

std::map<std::string, Place> fields_of_SampleLane() {
  using L = SampleLane;
  return {PORTPOOL_FIELD(L, key),     PORTPOOL_FIELD(L, pool),       PORTPOOL_FIELD(L, capacity),
          PORTPOOL_FIELD(L, in_use),  PORTPOOL_FIELD(L, free),       PORTPOOL_FIELD(L, waiting),
          PORTPOOL_FIELD(L, blocked), PORTPOOL_FIELD(L, rejections), PORTPOOL_FIELD(L, reserved)};
}

std::map<std::string, Place> fields_of_ExpectedClient() {
  using E = ExpectedClient;
  return {PORTPOOL_FIELD(E, name), PORTPOOL_FIELD(E, kind), PORTPOOL_FIELD(E, state)};
}

std::map<std::string, Place> fields_of_Attendance() {
  using A = Attendance;
  return {PORTPOOL_FIELD(A, attaches), PORTPOOL_FIELD(A, expected_count),
          PORTPOOL_FIELD(A, expected)};
}

Structs compiled() {
  return {PORTPOOL_STRUCT(Section),          PORTPOOL_STRUCT(StructureHeader),
          PORTPOOL_STRUCT(LaneInfo),         PORTPOOL_STRUCT(HintsHeader),
          PORTPOOL_STRUCT(DirectoryEntry),   PORTPOOL_STRUCT(RequestSlot),
          PORTPOOL_STRUCT(LaneHints),        PORTPOOL_STRUCT(Shard),
          PORTPOOL_STRUCT(LatencyHistogram), PORTPOOL_STRUCT(PoolInfo),
          PORTPOOL_STRUCT(BoundPorts),       PORTPOOL_STRUCT(PortRules),
          PORTPOOL_STRUCT(PortRuleWords),    PORTPOOL_STRUCT(TraceEntry),
          PORTPOOL_STRUCT(FirstCalls),       PORTPOOL_STRUCT(AttachedProcess),

          PORTPOOL_STRUCT(FirstCalls),       PORTPOOL_STRUCT(History),
          PORTPOOL_STRUCT(HistorySample),    PORTPOOL_STRUCT(SampleLane),
          PORTPOOL_STRUCT(ExpectedClient),   PORTPOOL_STRUCT(Attendance)};
}

// Headings "### `Name` (N bytes)" and, below each, rows "| `field` | offset | size | meaning |".
Structs documented() {
  static const std::regex kHeading("### `(\\w+)` \\((\\d+) bytes\\)");
  static const std::regex kRow("\\| `(\\w+)` \\| (\\d+) \\| (\\d+) \\| ([^|]+) \\|");
  std::ifstream page(kSource + "/docs/layout.md");
  EXPECT_TRUE(page);
  Structs structs;
  Struct* current = nullptr;
  std::string line;
  for (std::smatch match; std::getline(page, line);) {
    if (std::regex_match(line, match, kHeading)) {
      current = &structs[match[1]];
      current->size = std::stoul(match[2]);
    } else if (line.starts_with("#")) {
      current = nullptr;
    } else if (current != nullptr && std::regex_match(line, match, kRow)) {
      const Place place{std::stoul(match[2]), std::stoul(match[3])};
      EXPECT_TRUE(current->fields.emplace(match[1], place).second) << match[1] << " stands twice";
    }
  }
  return structs;
}

TEST(LayoutPage, ShowsEachStructWithItsSize) {
  const Structs page = documented();
  for (const auto& [name, structure] : compiled()) {
    ASSERT_TRUE(page.contains(name)) << name;
    EXPECT_EQ(page.at(name).size, structure.size) << name;
  }
  EXPECT_EQ(page.size(), compiled().size());
}

TEST(LayoutPage, ShowsEachFieldWhereItIs) {
  Structs page = documented();
  for (const auto& [name, structure] : compiled()) {
    auto& fields = page[name].fields;
    for (const auto& [field, place] : structure.fields) {
      ASSERT_TRUE(fields.contains(field)) << name << "::" << field;
      EXPECT_EQ(fields[field], place) << name << "::" << field;
      fields.erase(field);
    }
    for (const auto& [field, place] : fields) {
      ADD_FAILURE() << name << "::" << field << " is on the page alone";
    }
  }
}

// Guards the lists above: a field that is missing there shows as a hole.
TEST(LayoutPage, ListsLeaveNoFieldOut) {
  // Bytes that alignment leaves unused.
  const std::map<std::string, std::size_t> padding = {
      {"DirectoryEntry", 12},   {"PortRules", 56},   {"BoundPorts", 60},
      {"HintsHeader", 60 + 48}, {"RequestSlot", 16}, {"LaneHints", 12 + 16 + 2688},
      {"Shard", 2560},          {"TraceEntry", 40},  {"AttachedProcess", 12},
      {"ExpectedClient", 56},   {"Attendance", 60}};
  for (const auto& [name, structure] : compiled()) {
    std::size_t covered = 0;
    for (const auto& [field, place] : structure.fields) covered += place.size;
    const auto known = padding.find(name);
    EXPECT_EQ(structure.size - covered, known != padding.end() ? known->second : 0) << name;
  }
}

TEST(Pages, NameTheVersion) {
  const std::string version = std::to_string(kLayoutMajor) + "." + std::to_string(kLayoutMinor);
  for (const auto& [name, before, after] :
       {std::array{"docs/layout.md", "layout version ", ","},
        std::array{"docs/compare.md", "same layout (", ")"},
        std::array{"CHANGELOG.md", "\nLayout ", ". "}, std::array{"README.md", ", layout ", ")"}}) {
    std::ifstream page(kSource + "/" + name);
    const std::string text{std::istreambuf_iterator<char>(page), {}};
    EXPECT_NE(text.find(before + version + after), std::string::npos) << name;
  }
}

TEST(Layout, MagicReadsAsTextInMemory) {
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(&kMagic), sizeof kMagic), "PRTPOOL\n");
}

}  // namespace
}  // namespace portpool::test
