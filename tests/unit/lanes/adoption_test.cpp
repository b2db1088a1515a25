// A segment that an earlier poold has left: which files are taken for one, and what a lane table
// makes of what is in them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "base/address_text.h"
#include "lanes/lane_table.h"
#include "lanes/segment.h"
#include "portpool/handover.h"
#include "portpool/lane.h"
#include "portpool/memory_file.h"

namespace portpool::test {
namespace {

constexpr SegmentSize kSize{.lanes = 16, .shards = 2};
constexpr NetworkNamespace kHere{.cookie = 11, .inode = 22};
constexpr kernel::PortRange kPorts{20000, 29999};

Descriptor copy_of(int fd) { return Descriptor(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

LaneKey lane_key(std::uint16_t port) {
  return {*parse_address("10.0.0.9"), *parse_address("10.0.0.1"), port};
}
LaneKey question(std::uint16_t port) { return {Address{}, *parse_address("10.0.0.1"), port}; }

class Adoption : public ::testing::Test {
 protected:
  Adoption() : earlier_(kSize, kHere) { earlier_.publish(); }

  MemoryFiles files() const {
    return {copy_of(earlier_.writable_structure_fd()), copy_of(earlier_.hints_fd())};
  }
  std::optional<Segment> adopt(MemoryFiles files, const SegmentSize& size = kSize,
                               const NetworkNamespace& here = kHere) {
    why_.clear();
    return Segment::adopt(std::move(files), size, here, why_);
  }
  void expect_refused(MemoryFiles files, const std::string& why, const SegmentSize& size = kSize,
                      const NetworkNamespace& here = kHere) {
    EXPECT_FALSE(adopt(std::move(files), size, here));
    EXPECT_NE(why_.find(why), std::string::npos) << why_ << " instead of " << why;
  }
  StructureHeader& header() const { return earlier_.header(); }

  Segment earlier_;
  std::string why_;
};

TEST_F(Adoption, GoesOnWithTheSameMemory) {
  const std::uint64_t generation = header().generation;
  header().stopped = kStopped;
  header().daemon_pid = 1;
  header().daemon_version[0] = '?';
  auto segment = adopt(files());
  ASSERT_TRUE(segment) << why_;
  // Until it signs, nothing has changed.
  EXPECT_EQ(header().daemon_pid, 1);
  EXPECT_EQ(header().stopped, kStopped);
  segment->sign();
  EXPECT_EQ(header().daemon_pid, getpid());
  EXPECT_EQ(header().stopped, 0U);
  EXPECT_NE(header().daemon_version[0], '?');
  EXPECT_EQ(header().generation, generation);
  EXPECT_TRUE(segment->view().same_geometry(earlier_.view()));
  segment->beat();
  EXPECT_EQ(header().heartbeat, segment->header().heartbeat);
  EXPECT_EQ(fcntl(segment->structure_fd(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(Adoption, RefusesWhatThisPooldWouldNotMake) {
  expect_refused(files(), "max_lanes", {.lanes = 17, .shards = 2});
  expect_refused(files(), "CPUs", {.lanes = 16, .shards = 3});
  expect_refused(files(), "network namespace", kSize, {.cookie = 12, .inode = 22});
  for (std::uint16_t* part : {&header().layout_major, &header().layout_minor}) {
    ++*part;
    expect_refused(files(), "another layout");
    --*part;
  }
  header().directory.count -= 1;
  expect_refused(files(), "sections");
  header().directory.count += 1;
  header().magic = kMagic + 1;
  expect_refused(files(), "damaged");
  header().magic = kMagic;
  EXPECT_TRUE(adopt(files())) << why_;
}

// Who else could write there could misdirect connections.
TEST_F(Adoption, RefusesFilesThatAreNotItsOwnAlone) {
  const std::string wrong = "somebody else";
  expect_refused({copy_of(earlier_.structure_fd()), copy_of(earlier_.hints_fd())}, wrong);
  expect_refused({copy_of(earlier_.writable_structure_fd()), Descriptor()}, wrong);
  const Descriptor unsealed(memfd_create(kHintsName, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(unsealed.get(), static_cast<off_t>(earlier_.hints_size())), 0);
  ASSERT_EQ(fchmod(unsealed.get(), 0600), 0);
  expect_refused({copy_of(earlier_.writable_structure_fd()), copy_of(unsealed.get())}, wrong);
  ASSERT_EQ(fchmod(earlier_.writable_structure_fd(), 0660), 0);
  expect_refused(files(), wrong);
  ASSERT_EQ(fchmod(earlier_.writable_structure_fd(), 0600), 0);
  if (geteuid() == 0) {
    ASSERT_EQ(fchown(earlier_.writable_structure_fd(), 65534, static_cast<gid_t>(-1)), 0);
    expect_refused(files(), wrong);
    ASSERT_EQ(fchown(earlier_.writable_structure_fd(), 0, static_cast<gid_t>(-1)), 0);
  }
  EXPECT_TRUE(adopt(files())) << why_;
}

class AdoptedTable : public Adoption {
 protected:
  // What the earlier poold knew.
  LaneTable before_{earlier_.writer()};

  LaneRecord* lane(std::uint16_t port) { return before_.add(lane_key(port), 0, kPorts); }
  DirectoryEntry& entry_of(const LaneKey& key) {
    const SegmentView& view = earlier_.view();
    for (std::uint32_t probe = 0;; ++probe) {
      DirectoryEntry& entry =
          earlier_.writer().directory_entry(view.directory_start(hash_of(key)) + probe);
      if (load_key(entry.key) == key) return entry;
    }
  }
  bool has_answer(const LaneKey& key) const {
    LaneChoice choice;
    return find_lanes(earlier_.view(), key, choice);
  }
};

TEST_F(AdoptedTable, LanesAndAnswersGoOn) {
  const LaneRecord* first = lane(1);
  const LaneRecord* second = lane(2);
  ASSERT_TRUE(before_.publish(question(1), {first, second}, EntryFlags::balance));
  ASSERT_TRUE(before_.publish(question(7), {}, 0));
  const std::uint32_t sequence = entry_of(question(1)).sequence;

  LaneTable after(earlier_.writer());
  const auto answers = after.adopt();
  ASSERT_EQ(answers.size(), 2U);
  for (const auto& [answer, flags] : answers) {
    const bool refused = answer.question == question(7);
    EXPECT_EQ(flags, refused ? EntryFlags::refused : EntryFlags::balance);
    EXPECT_EQ(answer.lanes,
              refused ? std::vector<LaneRef>{} : (std::vector<LaneRef>{first->ref, second->ref}));
  }
  // Programs see no change at all, not even an entry that is written again.
  EXPECT_EQ(entry_of(question(1)).sequence, sequence);
  ASSERT_EQ(after.size(), 2U);
  const LaneRecord* found = after.find(lane_key(2));
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->ref, second->ref);
  EXPECT_EQ(found->range, kPorts);
  // The next lane gets a place of its own, and answers can be taken back.
  EXPECT_EQ(after.add(lane_key(3), 0, kPorts)->ref.index, 2U);
  after.withdraw(question(1));
  EXPECT_FALSE(has_answer(question(1)));
}

// The earlier poold may have been killed at any instant.
TEST_F(AdoptedTable, WhatIsHalfWrittenIsCleared) {
  const LaneRecord* good = lane(1);
  const LaneRecord* gone = lane(2);
  ASSERT_TRUE(before_.publish(question(1), {good}, 0));
  ASSERT_TRUE(before_.publish(question(2), {gone}, 0));
  ASSERT_TRUE(before_.publish(question(3), {good}, 0));
  earlier_.writer().lane_info(gone->ref.index).generation = 0;
  entry_of(question(3)).sequence.fetch_sub(1);
  // An answer that stands where no search for it begins.
  const std::uint32_t far =
      earlier_.view().directory_start(hash_of(question(4))) + kDirectoryProbes + 1;
  LaneChoice choice;
  choice.lanes[choice.count++] = good->ref;
  earlier_.writer().write_entry(far, question(4), choice);
  // A lane that has no ports, and one that stands there twice.
  const LaneRecord* empty = lane(5);
  earlier_.writer().lane_info(empty->ref.index).ports = PortRange{}.pack();
  const LaneRecord* twice = lane(6);
  store_key(earlier_.writer().lane_info(twice->ref.index).key, lane_key(1));

  LaneTable after(earlier_.writer());
  const auto answers = after.adopt();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].answer.question, question(1));
  EXPECT_TRUE(has_answer(question(1)));
  for (const LaneKey& key : {question(2), question(3)}) EXPECT_FALSE(has_answer(key));
  EXPECT_EQ(entry_of(question(3)).sequence % 2, 0U) << "nobody could write there any more";
  EXPECT_EQ(earlier_.view().directory_entry(far).lane_count, 0U);
  ASSERT_EQ(after.size(), 1U);
  for (const LaneRecord* dead : {empty, twice}) {
    EXPECT_FALSE(in_service(earlier_.view(), dead->ref));
  }
}

TEST_F(AdoptedTable, APlaceThatIsUsedAgainIsAnotherLane) {
  const LaneRef old = lane(1)->ref;
  LaneTable after(earlier_.writer());
  after.adopt();
  EXPECT_EQ(after.find(lane_key(1))->ref, old);
  // As many as there are: none is taken twice.
  std::vector<bool> taken(earlier_.view().lane_count());
  for (std::uint32_t place = 0; place < after.end(); ++place) {
    if (after.at(place) != nullptr) taken[place] = true;
  }
  for (std::uint16_t port = 2; const LaneRecord* more = after.add(lane_key(port), 0, kPorts);
       ++port) {
    EXPECT_FALSE(taken[more->ref.index]) << more->ref.index;
    taken[more->ref.index] = true;
  }
  EXPECT_EQ(after.size(), earlier_.view().lane_count());
}

// A number from the hints' side of the world: more places touched than there are.
TEST_F(AdoptedTable, CountsThatCannotBeAreCutDown) {
  const LaneRecord* good = lane(1);
  ASSERT_TRUE(before_.publish(question(1), {good}, 0));
  header().lanes_touched = ~std::uint32_t{0};
  entry_of(question(1)).lane_count = ~std::uint32_t{0};
  LaneTable after(earlier_.writer());
  EXPECT_TRUE(after.adopt().empty());
  EXPECT_EQ(after.size(), 1U);
  EXPECT_FALSE(has_answer(question(1)));
}

}  // namespace
}  // namespace portpool::test
