#include "kernel/proc_file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/descriptor.h"

namespace portpool::kernel {
namespace {

// A file that holds `text`, as long as it lives.
class File {
 public:
  explicit File(std::string_view text) {
    EXPECT_EQ(write(fd_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }

 private:
  Descriptor fd_{memfd_create("text", MFD_CLOEXEC)};
};

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  EXPECT_TRUE(visit_lines(path, [&](std::string_view line) {
    lines.emplace_back(line);
    return true;
  }));
  return lines;
}

TEST(ProcFile, StopsAtTheLimit) {
  const File file(std::string(100'000, 'x'));
  EXPECT_EQ(read_proc_file(file.path())->size(), 100'000U);
  EXPECT_EQ(read_proc_file(file.path(), 40'000)->size(), 40'000U);
  EXPECT_FALSE(read_proc_file("/proc/self/nothing"));
}

TEST(ProcFile, LineByLine) {
  EXPECT_EQ(lines_of(File("").path()), std::vector<std::string>{});
  EXPECT_EQ(lines_of(File("a\n\nb").path()), (std::vector<std::string>{"a", "", "b"}));
  std::string text;
  std::vector<std::string> wanted;
  for (std::size_t i = 0; i < 300; ++i) {
    wanted.emplace_back(i, 'x');
    text += wanted.back() + '\n';
  }
  EXPECT_EQ(lines_of(File(text).path()), wanted);
  EXPECT_FALSE(visit_lines("/proc/self/nothing", [](std::string_view) { return true; }));
}

TEST(ProcFile, LongLinesComeInParts) {
  std::string joined;
  const std::string text(100'000, 'x');
  for (const std::string& part : lines_of(File(text).path())) {
    EXPECT_LE(part.size(), 32'768U);
    joined += part;
  }
  EXPECT_EQ(joined, text);
}

TEST(ProcFile, VisitEndsWhenToldTo) {
  const File file("a\nb\nc\n");
  int seen = 0;
  EXPECT_TRUE(visit_lines(file.path(), [&](std::string_view line) {
    ++seen;
    return line != "b";
  }));
  EXPECT_EQ(seen, 2);
}

TEST(ProcFile, VariablesBehindEmptyStrings) {
  std::string environ(1'000'000, '\0');
  environ += std::string("AB=no\0A=yes\0A=later", 19);
  EXPECT_EQ(variable_in(environ, "A"), "yes");
  EXPECT_EQ(variable_in(environ, "B"), std::nullopt);
  EXPECT_EQ(variable_in("A=last", "A"), "last");
  EXPECT_EQ(variable_in("", "A"), std::nullopt);
}

}  // namespace
}  // namespace portpool::kernel
