// Whose the socket is, and whose the lock file.
#include "daemon/socket_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "base/error.h"
#include "support/temp_dir.h"

namespace {

// What happens before the next flock(2): once.
std::function<int()> before_flock;

}  // namespace

extern "C" int flock(int fd, int operation) noexcept {
  if (const auto hook = std::exchange(before_flock, nullptr)) {
    if (const int error = hook()) {
      errno = error;
      return -1;
    }
  }
  return static_cast<int>(syscall(SYS_flock, fd, operation));
}

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

class SocketFiles : public testing::Test {
 protected:
  SocketFile make() const { return SocketFile::make(path); }

  std::string refusal(const std::string& at) const {
    try {
      SocketFile::make(at);
    } catch (const UserError& error) {
      return error.what();
    }
    ADD_FAILURE() << "not refused";
    return {};
  }

  Descriptor unix_socket() const {
    return Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  }
  sockaddr_un name() const {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    return name;
  }
  // Somebody else's socket at the path.
  Descriptor other_socket(bool listens = true) const {
    Descriptor other = unix_socket();
    const sockaddr_un at = name();
    EXPECT_EQ(bind(other.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
    if (listens) {
      EXPECT_EQ(listen(other.get(), 8), 0);
    }
    return other;
  }
  bool reaches(const SocketFile& file) const {
    const Descriptor visitor = unix_socket();
    const sockaddr_un at = name();
    if (connect(visitor.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0)
      return false;
    return static_cast<bool>(Descriptor(accept4(file.fd(), nullptr, nullptr, SOCK_CLOEXEC)));
  }

  TempDir directory;
  std::string folder = directory.file("run");
  std::string path = folder + "/poold.sock";
  std::string lock = path + ".lock";
};

TEST_F(SocketFiles, BothFilesAreThereForAsLongAsItLives) {
  {
    const SocketFile file = make();
    EXPECT_TRUE(reaches(file));
    struct stat status;
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
    EXPECT_TRUE(fs::exists(lock));
    EXPECT_NE(refusal(path).find("another poold is running on " + path), std::string::npos);
    EXPECT_TRUE(reaches(file));
  }
  EXPECT_TRUE(fs::is_empty(folder));
  EXPECT_TRUE(reaches(make()));
}

TEST_F(SocketFiles, WhatNobodyListensOnIsReplaced) {
  fs::create_directory(folder);
  other_socket(false);
  EXPECT_TRUE(reaches(make()));
  const Descriptor other = other_socket();
  EXPECT_NE(refusal(path).find("(pid " + std::to_string(getpid()) + ") is listening"),
            std::string::npos);
}

TEST_F(SocketFiles, WhatIsGoneIsMadeAgain) {
  SocketFile file = make();
  EXPECT_FALSE(file.mend());
  const int before = file.fd();
  fs::remove(path);
  const auto old = file.mend();
  ASSERT_TRUE(old);
  EXPECT_EQ(old->get(), before);
  EXPECT_TRUE(reaches(file));
  EXPECT_FALSE(file.mend());
  // The folder, too, as it was.
  ASSERT_EQ(chmod(folder.c_str(), 0750), 0);
  fs::remove(path);
  ASSERT_TRUE(file.mend());
  fs::remove_all(folder);
  ASSERT_TRUE(file.mend());
  EXPECT_TRUE(reaches(file));
  struct stat status;
  ASSERT_EQ(stat(folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0750U);
  EXPECT_NE(refusal(path).find("another poold"), std::string::npos);
}

TEST_F(SocketFiles, ALockFileThatIsGoneIsMadeAndLockedAgain) {
  SocketFile file = make();
  for (const bool replaced : {false, true}) {
    fs::remove(lock);
    if (replaced) close(open(lock.c_str(), O_CREAT | O_CLOEXEC | O_RDWR, 0600));
    EXPECT_FALSE(file.mend());
    EXPECT_NE(refusal(path).find("another poold"), std::string::npos);
    EXPECT_TRUE(reaches(file));
  }
}

// Whatever has come to stand at the path meanwhile.
TEST_F(SocketFiles, OnlyWhatIsItsOwnIsRemoved) {
  Descriptor other;
  {
    const SocketFile file = make();
    fs::remove(path);
    other = other_socket();
  }
  EXPECT_TRUE(fs::is_socket(path));
  other = Descriptor();
  std::optional<SocketFile> successor;
  {
    SocketFile file = make();
    fs::remove_all(folder);
    successor.emplace(make());
    EXPECT_FALSE(file.mend());
  }
  EXPECT_TRUE(reaches(*successor));
  EXPECT_TRUE(fs::exists(lock));
  EXPECT_NE(refusal(path).find("another poold"), std::string::npos);
}

TEST_F(SocketFiles, ThePathIsTakenAgainWhenItIsFree) {
  SocketFile file = make();
  fs::remove(path);
  Descriptor other = other_socket();
  EXPECT_FALSE(file.mend());
  EXPECT_FALSE(reaches(file));
  other = Descriptor();
  EXPECT_TRUE(file.mend());
  EXPECT_TRUE(reaches(file));
  // A file that is no socket is nobody's to remove but whoever made it.
  fs::remove(path);
  close(open(path.c_str(), O_CREAT | O_CLOEXEC | O_RDWR, 0600));
  EXPECT_FALSE(file.mend());
  EXPECT_TRUE(fs::is_regular_file(path));
  fs::remove(path);
  EXPECT_TRUE(file.mend());
  EXPECT_TRUE(reaches(file));
}

TEST_F(SocketFiles, ASuccessorGoesOnWithIt) {
  std::optional<SocketFile> first(make());
  const Descriptor waiting = unix_socket();
  const sockaddr_un at = name();
  ASSERT_EQ(connect(waiting.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
  SocketFile::Handles handles = first->give_up();
  first.reset();
  EXPECT_TRUE(fs::is_socket(path) && fs::exists(lock));
  EXPECT_NE(refusal(path).find("another poold"), std::string::npos) << "nobody gets in between";
  {
    SocketFile second = SocketFile::take_over(path, SocketFile::kNoGroup, std::move(handles));
    EXPECT_TRUE(Descriptor(accept4(second.fd(), nullptr, nullptr, SOCK_CLOEXEC)))
        << "who waited is not lost";
    EXPECT_TRUE(reaches(second));
    fs::remove_all(folder);
    EXPECT_TRUE(second.mend());
    EXPECT_TRUE(reaches(second));
  }
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(SocketFiles, WhatDoesNotListenThereIsNotTakenOver) {
  fs::create_directory(folder);
  const auto take = [&](Descriptor listener, const std::string& at) {
    SocketFile::take_over(at, SocketFile::kNoGroup, {std::move(listener), {}});
  };
  EXPECT_THROW(take(unix_socket(), path), UserError);
  EXPECT_THROW(take(Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)), path), UserError);
  EXPECT_THROW(take(other_socket(), path + "x"), UserError);
  EXPECT_THROW(SocketFile::activated(Descriptor(socket(AF_INET, SOCK_STREAM, 0))), UserError);
}

// The file is the service manager's.
TEST_F(SocketFiles, AnActivatedSocketIsServedAndLeftAlone) {
  fs::create_directory(folder);
  const Descriptor managers = other_socket();
  {
    SocketFile file = SocketFile::activated(Descriptor(dup(managers.get())));
    EXPECT_EQ(file.path(), path);
    EXPECT_TRUE(reaches(file));
    EXPECT_FALSE(fs::exists(lock));
    const std::string aside = path + ".aside";
    fs::rename(path, aside);
    EXPECT_FALSE(file.mend());
    EXPECT_FALSE(fs::exists(path));
    fs::rename(aside, path);
  }
  EXPECT_TRUE(fs::is_socket(path));
}

// Its owner leaves and removes it after it was opened here and before it is locked: the lock would
// be one that nobody else knows of.
TEST_F(SocketFiles, ALockFileRemovedWhileItIsOpenedIsNotTaken) {
  before_flock = [this] {
    fs::remove(lock);
    return 0;
  };
  const SocketFile file = make();
  EXPECT_TRUE(fs::exists(lock));
  EXPECT_NE(refusal(path).find("another poold"), std::string::npos);
}

TEST_F(SocketFiles, AFileSystemThatCannotLockIsCalledThat) {
  for (const int error : {ENOLCK, EOPNOTSUPP}) {
    before_flock = [error] { return error; };
    const std::string words = refusal(path);
    EXPECT_EQ(words.find("another poold"), std::string::npos) << words;
    EXPECT_NE(words.find("cannot lock " + lock), std::string::npos) << words;
    EXPECT_NE(words.find("--socket"), std::string::npos) << words;
  }
}

// A sticky folder is one like /tmp. There the kernel may keep even root from files of other users,
// depending on how they are opened (fs.protected_regular).
TEST_F(SocketFiles, AnotherUsersOldLockFileInAStickyFolder) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  constexpr uid_t kOwner = 54321;
  constexpr uid_t kNeither = 54322;
  fs::create_directory(folder);
  ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
  ASSERT_EQ(chmod(folder.c_str(), 01777), 0);
  close(open(lock.c_str(), O_CREAT | O_CLOEXEC | O_RDWR, 0600));
  ASSERT_EQ(chown(lock.c_str(), kOwner, kOwner), 0);
  ASSERT_EQ(seteuid(kNeither), 0);
  const std::string words = refusal(path);
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_NE(words.find(lock + ", which belongs to uid 54321"), std::string::npos) << words;
  EXPECT_NE(words.find("remove it"), std::string::npos) << words;
  EXPECT_TRUE(reaches(make()));
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(SocketFiles, WhatCannotBeALockFileIsCalledThat) {
  fs::create_directories(lock);
  EXPECT_NE(refusal(path).find("not a regular file"), std::string::npos) << refusal(path);
  fs::remove(lock);
  ASSERT_EQ(mkfifo(lock.c_str(), 0600), 0);
  EXPECT_NE(refusal(path).find("not a regular file"), std::string::npos) << refusal(path);
  fs::remove(lock);
  fs::create_symlink("/etc/passwd", lock);
  EXPECT_NE(refusal(path).find("not a regular file"), std::string::npos) << refusal(path);
}

}  // namespace
}  // namespace portpool::test
