// `poold check` of files that somebody made to keep it busy: it ends, within five seconds of CPU
// time and little memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>

#include "support/elf_file.h"
#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

// What it maps for an ordinary program, in bytes of address space.
std::uint64_t ordinary_space() {
  for (std::uint64_t mb = 8;; mb += 2) {
    Process process({"prlimit", "--as=" + std::to_string(mb << 20), poold_path(), "check", "true"});
    if (process.wait() == 0) return mb << 20;
    if (mb > 4096) throw std::runtime_error("poold check: " + process.err());
  }
}

class HostileFile : public testing::Test {
 protected:
  // That it ends within those bounds, with one of its own statuses, as text and as JSON.
  void expect_end(const std::string& path) {
    for (const bool json : {false, true}) {
      std::vector<std::string> command{"prlimit", "--cpu=5:5", "--as=" + std::to_string(space),
                                       poold_path(), "check"};
      if (json) command.emplace_back("--json");
      command.push_back(path);
      Process process(command);
      const int status = process.wait();
      EXPECT_TRUE(status >= 0 && status <= 3) << path << ": " << status << process.err();
      EXPECT_EQ(process.err().find("alloc"), std::string::npos) << path << process.err();
      if (json && process.err().empty()) {
        EXPECT_TRUE(nlohmann::json::accept(process.out())) << process.out().substr(0, 1000);
      }
    }
  }

  const std::uint64_t space = ordinary_space() + (std::uint64_t{10} << 20);
};

TEST_F(HostileFile, SixtyThousandLibraries) {
  expect_end(elf_that_needs(60'000, std::string(60'000, 'a')).path());
  expect_end(elf_that_needs(60'000, std::string(60'000, 'a') + '\0').path());
  expect_end(elf_that_needs(60'000, std::string(4'000, 'a') + '\0').path());
}

TEST_F(HostileFile, SixtyThousandInterpreters) {
  ElfFile file = elf_with_interpreters(60'000, std::uint64_t{60} << 20, "");
  file.resize(off_t{64} << 20);
  expect_end(file.path());
  expect_end(elf_with_interpreters(60'000, 60'000, std::string(60'000, '/')).path());
}

TEST_F(HostileFile, SparseToTheLastByte) {
  ElfFile file({elf_segment(PT_INTERP, 4096, ~std::uint64_t{0}),
                elf_segment(PT_DYNAMIC, 8192, ~std::uint64_t{0}),
                elf_segment(PT_LOAD, 0, ~std::uint64_t{0})},
               "");
  file.resize((off_t{1} << 62) + 1);
  expect_end(file.path());
}

TEST_F(HostileFile, SixtyThousandSections) {
  constexpr std::uint16_t kSections = 60'000;
  Elf64_Ehdr header{};
  header.e_shoff = end_of_segments(0);
  header.e_shnum = kSections;
  header.e_shentsize = sizeof(Elf64_Shdr);
  std::vector<Elf64_Shdr> sections(kSections);
  sections[0].sh_offset = 4096;
  sections[0].sh_size = std::uint64_t{60} << 20;
  ElfFile file({}, {reinterpret_cast<const char*>(sections.data()), kSections * sizeof(Elf64_Shdr)},
               header);
  file.resize(off_t{64} << 20);
  expect_end(file.path());
}

TEST_F(HostileFile, NoFilesAtAll) {
  const TempDir directory;
  const std::string fifo = directory.file("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0777), 0);
  for (const std::string& path : {fifo, directory.path(), std::string("/dev/zero")}) {
    expect_end(path);
  }
}

// Twenty thousand mappings of a file with a long name: 70 MB in /proc/PID/maps. And an environment
// of a hundred thousand empty strings.
GUEST(map_often) {
  std::string path = arguments.at(0);
  for (int i = 0; i < 14; ++i) {
    path += "/" + std::string(250, 'd');
    CHECK_THAT(mkdir(path.c_str(), 0700) == 0);
  }
  const Descriptor file(open((path + "/f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  CHECK_THAT(ftruncate(file.get(), 4096) == 0);
  for (int i = 0; i < 20'000; ++i) {
    CHECK_THAT(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.get(), 0) != MAP_FAILED);
  }
  std::memset(const_cast<char*>(std::getenv("PORTPOOL_TEST_LARGE")), 0, 100'000);
  say("mapped");
  for (;;) await_line();
}

TEST_F(HostileFile, ProcessWithManyMappings) {
  const TempDir directory;
  Under under;
  under.environment = {"PORTPOOL_TEST_LARGE=" + std::string(100'000, 'x')};
  Process guest = start_guest("map_often", under, {directory.path()});
  guest.wait_for_output("mapped");
  expect_end(std::to_string(guest.pid()));
}

// A script for itself, with a first line that never ends.
TEST_F(HostileFile, Scripts) {
  const TempDir directory;
  const auto script = [&](const char* name, const std::string& text) {
    const std::string path = directory.write(name, text);
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  };
  expect_end(script("own", "#!" + directory.file("own") + "\n"));
  expect_end(script("long", "#!" + std::string(1 << 20, '/')));
  expect_end(script("bytes", "#!\x1b[2J\xff\n"));
}

}  // namespace
}  // namespace portpool::test
