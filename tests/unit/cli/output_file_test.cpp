// Files that reports are written to.
#include "cli/output_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "support/temp_dir.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

void write_to(const std::string& path, const std::string& text) { OutputFile(path).write(text); }

std::size_t files_in(const std::string& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(OutputFile, IsReplacedAsAWhole) {
  const TempDir folder;
  const std::string path = folder.write("report", "old\n");
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  fs::create_symlink("report", folder.file("link"));
  std::ifstream reader(path);
  write_to(folder.file("link"), "new\n");
  std::string line;
  std::getline(reader, line);
  EXPECT_EQ(line, "old") << "whoever had it open";
  EXPECT_EQ(read_whole_file(path), "new\n");
  EXPECT_TRUE(fs::is_symlink(folder.file("link")));
  EXPECT_EQ(fs::status(path).permissions(), fs::perms(0640));
  EXPECT_EQ(files_in(folder.path()), 2U);
}

TEST(OutputFile, WithoutSpaceTheOldContentStays) {
  const TempDir folder;
  const std::string path = folder.write("report", "old\n");
  OutputFile file(path);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  EXPECT_THROW(file.write("new\n"), UserError);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(read_whole_file(path), "old\n");
  EXPECT_EQ(files_in(folder.path()), 1U);
}

TEST(OutputFile, OfTwoNamesKeepsBoth) {
  const TempDir folder;
  const std::string path = folder.write("report", "something old\n");
  fs::create_hard_link(path, folder.file("other"));
  write_to(path, "new\n");
  EXPECT_EQ(read_whole_file(folder.file("other")), "new\n");
}

TEST(OutputFile, InAFolderThatTakesNoOther) {
  if (geteuid() != 0) GTEST_SKIP() << "needs another user";
  const TempDir folder;
  fs::permissions(folder.path(), fs::perms(0755));
  const std::string path = folder.write("report", "something old\n");
  ASSERT_EQ(chown(path.c_str(), 65534, 65534), 0);
  ASSERT_EQ(seteuid(65534), 0);
  write_to(path, "new\n");
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_EQ(read_whole_file(path), "new\n");
  EXPECT_EQ(files_in(folder.path()), 1U);
}

TEST(OutputFile, NeverWrittenLeavesNothing) {
  const TempDir folder;
  { const OutputFile file(folder.file("report")); }
  EXPECT_EQ(files_in(folder.path()), 0U);
  EXPECT_THROW(OutputFile(folder.file("none/report")), UserError);
  EXPECT_THROW(OutputFile(folder.path()), UserError);
}

// A descriptor goes on where its other users are, and one that is only read from is refused.
TEST(OutputFile, DescriptorsByTheirPath) {
  const TempDir folder;
  const std::string path = folder.file("both");
  const Descriptor out(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::write(out.get(), "before\n", 7), 7);
  write_to("/dev/fd/" + std::to_string(out.get()), "report\n");
  ASSERT_EQ(::write(out.get(), "after\n", 6), 6);
  EXPECT_EQ(read_whole_file(path), "before\nreport\nafter\n");
  const Descriptor in(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_THROW(OutputFile("/proc/self/fd/" + std::to_string(in.get())), UserError);
  EXPECT_THROW(OutputFile("/dev/fd/999999"), UserError);
  write_to("/dev/null", "report\n");
}

}  // namespace
}  // namespace portpool::test
