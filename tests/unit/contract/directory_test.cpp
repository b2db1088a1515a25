// find_lanes() and write_entry(): from a question to lanes, with a reader at the same time.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "base/address_text.h"
#include "lanes/lane_table.h"
#include "lanes/retirement.h"
#include "lanes/segment.h"
#include "portpool/lane.h"
#include "portpool/segment.h"

namespace portpool::test {
namespace {

LaneKey key_of(std::uint16_t port) { return {Address{}, *parse_address("10.0.0.1"), port}; }

using Indices = std::vector<std::uint32_t>;

LaneChoice choice_of(const Indices& lanes, std::uint32_t flags = 0) {
  LaneChoice choice;
  choice.flags = flags;
  for (const std::uint32_t lane : lanes) choice.lanes[choice.count++] = {lane, lane + 1};
  return choice;
}

class Directory : public ::testing::Test {
 protected:
  Directory() : segment_({.lanes = 16, .shards = 1}, {}) { segment_.publish(); }

  const SegmentView& view() const { return segment_.view(); }
  // Where the search for `key` begins, `probe` places on.
  std::uint32_t place(const LaneKey& key, std::uint32_t probe = 0) const {
    return (view().directory_start(hash_of(key)) + probe) % view().directory_size();
  }
  DirectoryEntry& entry(const LaneKey& key) const {
    return segment_.writer().directory_entry(place(key));
  }
  void write(std::uint32_t place, const LaneKey& key, const LaneChoice& choice) const {
    segment_.writer().write_entry(place, key, choice);
  }
  void expect_lanes(const LaneKey& key, const Indices& lanes) const {
    LaneChoice found;
    ASSERT_TRUE(find_lanes(view(), key, found));
    Indices indices;
    for (std::uint32_t i = 0; i < found.count; ++i) {
      EXPECT_EQ(found.lanes[i].generation, found.lanes[i].index + 1);
      indices.push_back(found.lanes[i].index);
    }
    EXPECT_EQ(indices, lanes);
  }
  bool found(const LaneKey& key) const {
    LaneChoice out;
    return find_lanes(view(), key, out);
  }

  Segment segment_;
};

TEST_F(Directory, FindsWhatWasWritten) {
  EXPECT_FALSE(found(key_of(443)));
  write(place(key_of(443)), key_of(443), choice_of({3, 5, 7}, EntryFlags::fail_fast));
  expect_lanes(key_of(443), {3, 5, 7});
  LaneChoice out;
  ASSERT_TRUE(find_lanes(view(), key_of(443), out));
  EXPECT_EQ(out.flags, EntryFlags::fail_fast);
  EXPECT_FALSE(found(key_of(444)));
  EXPECT_FALSE(found({*parse_address("10.0.0.1"), *parse_address("10.0.0.1"), 443}));
}

TEST_F(Directory, AnEntryIsReplaced) {
  write(place(key_of(443)), key_of(443), choice_of({1, 2, 3}));
  write(place(key_of(443)), key_of(443), choice_of({4}));
  expect_lanes(key_of(443), {4});
}

TEST_F(Directory, ARefusalIsAnAnswerAnEmptyEntryIsNone) {
  write(place(key_of(443)), key_of(443), choice_of({}, EntryFlags::refused));
  LaneChoice out;
  ASSERT_TRUE(find_lanes(view(), key_of(443), out));
  EXPECT_EQ(out.count, 0U);
  EXPECT_NE(out.flags & EntryFlags::refused, 0U);
  write(place(key_of(443)), key_of(443), choice_of({}));
  EXPECT_FALSE(found(key_of(443)));
}

TEST_F(Directory, LooksOnOverOtherKeysUpToTheLastProbe) {
  for (std::uint32_t probe = 0; probe + 1 < kDirectoryProbes; ++probe) {
    write(place(key_of(443), probe), key_of(1), choice_of({9}));
  }
  EXPECT_FALSE(found(key_of(443)));
  write(place(key_of(443), kDirectoryProbes - 1), key_of(443), choice_of({6}));
  expect_lanes(key_of(443), {6});
  write(place(key_of(443), kDirectoryProbes - 1), key_of(1), choice_of({9}));
  write(place(key_of(443), kDirectoryProbes), key_of(443), choice_of({6}));
  EXPECT_FALSE(found(key_of(443)));
}

TEST_F(Directory, AnEntryBeingWrittenCountsAsAbsent) {
  DirectoryEntry& entry = this->entry(key_of(443));
  write(place(key_of(443)), key_of(443), choice_of({3}));
  entry.sequence.fetch_add(1);
  EXPECT_FALSE(found(key_of(443)));
  entry.sequence.fetch_add(1);
  EXPECT_TRUE(found(key_of(443)));
}

TEST_F(Directory, AScribbledOddSequenceIsMendedByTheNextWrite) {
  DirectoryEntry& entry = this->entry(key_of(443));
  for (const std::uint32_t scribble : {1U, 77U, 0xFFFFFFFFU, 0xFFFFFFFEU}) {
    entry.sequence = scribble;
    write(place(key_of(443)), key_of(443), choice_of({3}));
    EXPECT_EQ(entry.sequence.load() % 2, 0U);
    EXPECT_NE(entry.sequence.load(), 0U);
    expect_lanes(key_of(443), {3});
  }
}

TEST_F(Directory, AScribbledCountIsCut) {
  DirectoryEntry& entry = this->entry(key_of(443));
  write(place(key_of(443)), key_of(443), choice_of({3}));
  entry.lane_count = ~std::uint32_t{0};
  LaneChoice out;
  ASSERT_TRUE(find_lanes(view(), key_of(443), out));
  EXPECT_EQ(out.count, kLanesPerEntry);
}

TEST_F(Directory, GarbageEverywhereNeverLeadsOutOfBounds) {
  std::mt19937_64 random{1};
  for (std::uint32_t i = 0; i < view().directory_size(); ++i) {
    DirectoryEntry& entry = segment_.writer().directory_entry(i);
    entry.sequence = static_cast<std::uint32_t>(random());
    entry.flags = static_cast<std::uint32_t>(random());
    entry.lane_count = static_cast<std::uint32_t>(random());
    store_key(entry.key, key_of(static_cast<std::uint16_t>(random() % 64)));
    for (auto& lane : entry.lanes) lane = static_cast<std::uint32_t>(random());
  }
  for (std::uint16_t port = 0; port < 64; ++port) {
    LaneChoice out;
    if (!find_lanes(view(), key_of(port), out)) continue;
    ASSERT_LE(out.count, kLanesPerEntry);
    for (std::uint32_t i = 0; i < out.count; ++i)
      view().lane_hints(out.lanes[i].index).ring[0].load();
  }
}

TEST_F(Directory, KeysGoThroughTheSegmentUnchanged) {
  std::atomic<std::uint64_t> words[kKeyWords] = {};
  const LaneKey key{*parse_address("2001:db8::1"), *parse_address("10.1.2.3"), 65535};
  store_key(words, key);
  EXPECT_EQ(load_key(words), key);
  words[4] = ~std::uint64_t{0};  // a client's scribble
  EXPECT_EQ(load_key(words).destination_port, 65535);
}

// All lanes of one writing are equal, so a reader that mixes two of them is seen.
void expect_no_mixture(const StructureWriter& structure, std::uint32_t place, const LaneKey& key,
                       bool scribble) {
  const SegmentView& view = structure.view();
  std::atomic<bool> done{false};
  std::atomic<int> torn{0};
  std::atomic<int> hits{0};
  const auto read = [&] {
    while (!done) {
      LaneChoice out;
      if (!find_lanes(view, key, out)) continue;
      ++hits;
      for (std::uint32_t i = 0; i < out.count; ++i) {
        if (out.lanes[i] != out.lanes[0] || out.count != out.lanes[0].index % 32 + 1U) {
          ++torn;
          break;
        }
      }
    }
  };
  // More threads than cores, so that the writer is also interrupted in the middle.
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) readers.emplace_back(read);
  for (std::uint32_t round = 0; round < 300'000 || hits < 1000; ++round) {
    LaneChoice choice;
    choice.count = round % 32 + 1;
    for (auto& lane : choice.lanes) lane = {round % kMaxLanes, 1};
    if (scribble) structure.directory_entry(place).sequence.fetch_add(1);
    structure.write_entry(place, key, choice);
    if (round % 1024 == 0) std::this_thread::yield();
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn, 0) << "of " << hits;
}

TEST_F(Directory, AReaderNeverSeesAMixture) {
  expect_no_mixture(segment_.writer(), place(key_of(443)), key_of(443), false);
}

// Once: write_entry() adds 1 to a sequence that a client made odd, so the entry is marked
// stable while it is being written, and ends with the same number.
TEST_F(Directory, AReaderNeverSeesAMixtureAfterAScribble) {
  expect_no_mixture(segment_.writer(), place(key_of(443)), key_of(443), true);
}

TEST_F(Directory, LaneTablePublishesAndRefuses) {
  LaneTable table(segment_.writer());
  LaneRecord* record =
      table.add({*parse_address("10.0.0.9"), *parse_address("10.0.0.1"), 443}, 0, {32768, 60999});
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(table.find(record->key), record);
  EXPECT_FALSE(found(key_of(443)));
  ASSERT_TRUE(table.publish(key_of(443), {record}, EntryFlags::balance));
  LaneChoice out;
  ASSERT_TRUE(find_lanes(view(), key_of(443), out));
  ASSERT_EQ(out.count, 1U);
  EXPECT_EQ(out.lanes[0], record->ref);
  LaneIdentity lane;
  ASSERT_TRUE(read_lane(view(), record->ref, lane));
  EXPECT_EQ(lane.key, record->key);
  EXPECT_EQ(lane.ports, (PortRange{32768, 60999}));
  ASSERT_TRUE(table.publish(key_of(443), {}, 0));
  ASSERT_TRUE(find_lanes(view(), key_of(443), out));
  EXPECT_EQ(out.flags, EntryFlags::refused);
}

TEST_F(Directory, LaneTableEndsWithTheLanes) {
  LaneTable table(segment_.writer());
  for (std::uint16_t port = 1; port <= 16; ++port) {
    EXPECT_NE(table.add(key_of(port), 0, {1, 2}), nullptr);
  }
  EXPECT_EQ(table.add(key_of(17), 0, {1, 2}), nullptr);
  EXPECT_EQ(table.find(key_of(17)), nullptr);
}

TEST_F(Directory, LaneTableWithdraws) {
  LaneTable table(segment_.writer());
  const LaneRecord* record = table.add(key_of(1), 0, {1, 2});
  for (std::uint16_t port = 10; port <= 12; ++port) {
    ASSERT_TRUE(table.publish(key_of(port), {record}, 0));
  }
  table.withdraw(key_of(11));
  EXPECT_TRUE(found(key_of(10)));
  EXPECT_FALSE(found(key_of(11)));
  table.withdraw(key_of(99));
  EXPECT_EQ(table.withdraw_some(table.withdraw_some(0, 1), 1), 0U) << "a piece at a time";
  EXPECT_FALSE(found(key_of(10)));
  EXPECT_FALSE(found(key_of(12)));
}

// Each lane filled, with two free ports.
void fill_table(LaneTable& table, std::uint16_t lanes) {
  for (std::uint16_t port = 1; port <= lanes; ++port) {
    LaneRecord* record = table.add(key_of(port), 0, {100, 101});
    ASSERT_NE(record, nullptr);
    put_port(free_map(table.hints(*record), 0), 100);
    put_port(free_map(table.hints(*record), 0), 101);
    record->filled = true;
    ASSERT_TRUE(table.publish(key_of(port), {record}, 0));
  }
}

std::size_t retire_all(Retirement& retirement) {
  while (retirement.retire_next()) {
  }
  return retirement.take_count();
}

// A full table gives up lanes that nobody uses and that hold no port, and no others.
TEST_F(Directory, LaneTableRetiresOnlyIdleLanes) {
  LaneTable table(segment_.writer());
  Retirement retirement(table);
  fill_table(table, 16);
  remove_port(free_map(table.hints(*table.find(key_of(3))), 0), 101);
  table.find(key_of(4))->holds_ports = true;
  EXPECT_EQ(retirement.choose_idle(), 0U) << "all were just made";
  segment_.header().heartbeat += 1000;
  table.hints(*table.find(key_of(5))).last_used_beat = segment_.header().heartbeat.load();
  EXPECT_EQ(retirement.choose_idle(), 2U) << "an eighth of the places";
  retire_all(retirement);
  retirement.choose_idle();
  retire_all(retirement);
  EXPECT_EQ(retirement.choose_idle(), 0U) << "which is enough room";
  EXPECT_EQ(table.size(), 14U);
  for (std::uint16_t port = 1; port <= 16; ++port) {
    EXPECT_EQ(found(key_of(port)), table.find(key_of(port)) != nullptr) << port;
  }
  EXPECT_NE(table.find(key_of(3)), nullptr) << "it has a port in use, by its maps";
  EXPECT_NE(table.find(key_of(4)), nullptr) << "it has a port in use, by the kernel's table";
  EXPECT_NE(table.find(key_of(5)), nullptr) << "it was just used";
  for (std::uint32_t i = 0; i < view().lane_count(); ++i) {
    const bool retired = view().lane_info(i).generation.load() == 0;
    EXPECT_EQ(retired, view().lane_hints(i).words[0][word_of_port(100)].load() == 0)
        << "lane " << i;
  }
}

// Once: only lanes that had been idle for ten seconds went, however much a place was needed.
TEST_F(Directory, LaneTableRetiresByNeedTheLeastUsedFirst) {
  LaneTable table(segment_.writer());
  Retirement retirement(table);
  fill_table(table, 16);
  EXPECT_EQ(retirement.choose_by_need(), 0U) << "all were just made";
  segment_.header().heartbeat += 1500 / kHeartbeatMs;
  EXPECT_EQ(retirement.choose_idle(), 0U) << "not for ten seconds";
  for (std::uint16_t port = 1; port <= 16; ++port) {
    if (port != 7) table.hints(*table.find(key_of(port))).last_used_beat += 2;
  }
  ASSERT_EQ(retirement.choose_by_need(), 1U) << "a sixteenth of the places";
  EXPECT_EQ(retire_all(retirement), 1U);
  EXPECT_EQ(table.find(key_of(7)), nullptr);
  EXPECT_FALSE(found(key_of(7)));
  EXPECT_EQ(table.size(), 15U);
}

TEST_F(Directory, LaneTableKeepsALaneThatIsUsedAfterItWasChosen) {
  LaneTable table(segment_.writer());
  Retirement retirement(table);
  fill_table(table, 16);
  segment_.header().heartbeat += 1000;
  ASSERT_GT(retirement.choose_by_need(), 0U);
  for (std::uint16_t port = 1; port <= 16; ++port) {
    table.hints(*table.find(key_of(port))).last_used_beat = segment_.header().heartbeat.load();
  }
  EXPECT_EQ(retire_all(retirement), 0U);
  EXPECT_EQ(table.size(), 16U);
}

// All answers that lead to a lane go with it; those that lead to others stay.
TEST_F(Directory, LaneTableForgetsEachAnswerOfALane) {
  LaneTable table(segment_.writer());
  const LaneRecord* one = table.add(key_of(1), 0, {1, 2});
  const LaneRecord* other = table.add(key_of(2), 0, {1, 2});
  ASSERT_TRUE(table.publish(key_of(10), {one}, 0));
  ASSERT_TRUE(table.publish(key_of(11), {one, other}, 0));
  ASSERT_TRUE(table.publish(key_of(12), {other}, 0));
  ASSERT_TRUE(table.publish(key_of(13), {one}, 0));
  ASSERT_TRUE(table.publish(key_of(13), {other}, 0)) << "another answer in its place";
  const LaneRef ref = one->ref;
  table.retire(*one);
  EXPECT_EQ(table.find(ref), nullptr);
  EXPECT_FALSE(found(key_of(10)));
  EXPECT_FALSE(found(key_of(11)));
  EXPECT_TRUE(found(key_of(12)));
  EXPECT_TRUE(found(key_of(13)));
}

// More questions than places near a hash: publish() says so, and what stands there stays.
TEST_F(Directory, LaneTableFillsThePlacesAndThenSaysNo) {
  LaneTable table(segment_.writer());
  const LaneRecord* record = table.add(key_of(1), 0, {1, 2});
  std::vector<LaneKey> placed;
  bool refused = false;
  for (std::uint32_t port = 1; port < 500; ++port) {
    const LaneKey key = key_of(static_cast<std::uint16_t>(port));
    if (table.publish(key, {record}, 0)) {
      placed.push_back(key);
    } else {
      refused = true;
      EXPECT_FALSE(found(key));
    }
  }
  EXPECT_TRUE(refused);
  EXPECT_GT(placed.size(), view().directory_size() / 2);
  for (const LaneKey& key : placed) EXPECT_TRUE(found(key)) << key.destination_port;
}

// Many destinations that have no lane by the configuration do not keep the others from theirs.
TEST_F(Directory, RefusalsMakeRoom) {
  LaneTable table(segment_.writer());
  const LaneRecord* record = table.add(key_of(1), 0, {1, 2});
  for (std::uint16_t port = 1; port < 500; ++port) {
    EXPECT_TRUE(table.publish(key_of(port), {}, EntryFlags::no_pool)) << port;
  }
  for (std::uint16_t port = 500; port < 516; ++port) {
    EXPECT_TRUE(table.publish(key_of(port), {record}, 0)) << port;
    EXPECT_TRUE(found(key_of(port))) << port;
  }
}

}  // namespace
}  // namespace portpool::test
