// ELF files whose headers claim anything: reading them is bounded.
#include "check/elf.h"

#include "support/elf_file.h"

namespace portpool::test {
namespace {

using check::ElfFacts;
using check::read_elf;

std::size_t bytes_of(const ElfFacts& facts) {
  std::size_t sum = facts.interpreter.size();
  for (const std::string& name : facts.needed) sum += name.size() + sizeof name;
  return sum;
}

TEST(HostileElf, SixtyThousandNeeded) {
  constexpr std::size_t kMost = std::size_t{5} << 20;
  const ElfFile endless = elf_that_needs(60'000, std::string(60'000, 'a'));
  EXPECT_LT(bytes_of(read_elf(endless.path()).value()), kMost);
  const ElfFile ended = elf_that_needs(60'000, std::string(4000, 'a') + '\0');
  const ElfFacts facts = read_elf(ended.path()).value();
  EXPECT_LT(bytes_of(facts), kMost);
  EXPECT_TRUE(facts.needs("aaa"));
}

TEST(HostileElf, TheFirstInterpreterCounts) {
  std::vector<Elf64_Phdr> segments(2000, elf_segment(PT_INTERP, end_of_segments(2000), 8));
  for (std::size_t i = 1; i < segments.size(); ++i) segments[i].p_offset += 8;
  const ElfFile file(segments, std::string_view("/first\0\0/later\0\0", 16));
  EXPECT_EQ(read_elf(file.path()).value().interpreter, "/first");
}

TEST(HostileElf, SparseAndEndless) {
  constexpr std::uint64_t kAll = ~std::uint64_t{0};
  ElfFile file({elf_segment(PT_INTERP, 4096, kAll), elf_segment(PT_DYNAMIC, kAll - 8, kAll),
                elf_segment(PT_LOAD, kAll, kAll)},
               "");
  for (const off_t size : {off_t{1} << 40, (off_t{1} << 62) + 1}) {
    file.resize(size);
    EXPECT_EQ(read_elf(file.path()).value().interpreter, "");
  }
  EXPECT_FALSE(read_elf("/dev/zero"));
  EXPECT_FALSE(read_elf("/"));
}

// Whatever is cut off, what is left is read to its end and no further.
TEST(HostileElf, Truncated) {
  ElfFile file = elf_that_needs(10, std::string_view("libc.so.6\0", 10));
  EXPECT_EQ(read_elf(file.path()).value().needed.size(), 10U);
  for (off_t size = 600; size >= 0; --size) {
    file.resize(size);
    const auto facts = read_elf(file.path());
    EXPECT_EQ(facts.has_value(), size >= 20) << size;
    if (facts) {
      EXPECT_LE(facts->needed.size(), 10U);
    }
  }
}

// Every table is the header itself.
TEST(HostileElf, Overlapping) {
  Elf64_Ehdr header{};
  header.e_shoff = 0;
  header.e_shnum = 0xFFFF;
  header.e_shentsize = sizeof(Elf64_Shdr);
  for (const int names : {0, 1, 0xFFFF}) {
    header.e_shstrndx = static_cast<std::uint16_t>(names);
    const ElfFile file({elf_segment(PT_LOAD, 0, ~std::uint64_t{0}),
                        elf_segment(PT_DYNAMIC, 0, 1 << 20), elf_segment(PT_INTERP, 0, 1 << 20)},
                       std::string(1 << 20, '\1'), header);
    EXPECT_FALSE(read_elf(file.path()).value().go);
  }
}

}  // namespace
}  // namespace portpool::test
