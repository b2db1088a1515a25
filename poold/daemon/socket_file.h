// The UNIX socket that poold listens on, as a file: made, kept where it is, handed to a successor,
// removed. At most one process has it at a time: it holds the lock file <path>.lock.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/descriptor.h"
#include "base/file_identity.h"
#include "daemon/lock_file.h"

namespace portpool {

class SocketFile {
 public:
  static constexpr gid_t kNoGroup = static_cast<gid_t>(-1);

  // What a successor needs to go on listening, without a moment in which nobody does.
  struct Handles {
    Descriptor listener;
    Descriptor lock;
  };

  // Listens on `path`, mode 0600, 0660 with `group`, or 0666 for `everybody`. A socket that nobody
  // listens on is replaced; a directory that is missing is made (0755). UserError: another daemon
  // has it, a file there is no socket, it cannot be made.
  static SocketFile make(std::string path, gid_t group = kNoGroup, bool everybody = false);
  // Goes on with what a predecessor gave up, or has sent copies of; without a lock, mend() takes
  // it. UserError: the listener does not listen, or on another path.
  static SocketFile take_over(std::string path, gid_t group, Handles handles);
  // A socket that listens already and whose file is somebody else's to make, to look after and to
  // remove (socket activation). Its path is what it is bound to. UserError: it is not a listening
  // UNIX stream socket.
  static SocketFile activated(Descriptor listener);

  // Removes the socket and the lock file, if they are still the ones that were made here.
  ~SocketFile();
  SocketFile(SocketFile&& other) noexcept = default;
  SocketFile& operator=(SocketFile&&) = delete;
  SocketFile(const SocketFile&) = delete;
  SocketFile& operator=(const SocketFile&) = delete;

  // Non-blocking. Another one after mend() has returned a descriptor.
  int fd() const { return listener_.get(); }
  const std::string& path() const { return path_; }

  // Sees to it that `path` leads to this socket, and that nobody else can lock the lock file: what
  // is gone (a cleaner of /run or /tmp, a directory removed) is made again. A few system calls
  // while all is well; to be called several times a second. Returns the socket that was listened
  // on before, when there is a new one: some visitors may still wait there. Takes back what
  // programs that had no answer have left (portpool/handover.h). Says in the log what it did, and
  // once what it cannot mend: another daemon has the path, or a file there is no socket.
  std::optional<Descriptor> mend();

  // What mend() cannot mend now; "": nothing.
  const std::string& trouble() const { return said_; }

  // For a successor: -1 where there is no lock.
  int lock_fd() const { return lock_ ? lock_->fd() : -1; }
  // Leaves both files as they are; this object is then empty, and its end removes nothing.
  Handles give_up();

 private:
  SocketFile(std::string path, gid_t group, Descriptor listener, std::optional<LockFile> lock,
             bool owns_file);

  bool is_in_place() const;
  void take_touch_back() const;
  void remember_place();
  void make_folder_again() const;

  std::string path_;
  gid_t group_ = kNoGroup;
  bool everybody_ = false;
  bool owns_file_ = true;
  Descriptor listener_;
  std::optional<LockFile> lock_;
  std::optional<FileIdentity> identity_;  // of the file that listener_ is bound to
  struct Folder {
    mode_t mode;
    uid_t uid;
    gid_t gid;
  };
  std::optional<Folder> folder_;  // as it was when the socket was made in it
  std::string said_;              // what cannot be mended
};

}  // namespace portpool
