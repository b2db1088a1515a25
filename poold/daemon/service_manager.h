// What poold and the service manager that started it tell each other, by systemd's plain protocol
// (sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3); others speak it, too): environment
// variables and datagrams. Where no such variable is set, nothing is said and nothing taken.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.h"

namespace portpool {

// A descriptor that was handed over at the start: a listening socket of a .socket unit, or one that
// an earlier process has put into the store. Without a name of its own it is called "unknown".
struct ActivatedDescriptor {
  std::string name;
  Descriptor descriptor;
};

// Use from one thread.
class ServiceManager {
 public:
  // Says nothing and has nothing.
  ServiceManager() = default;
  // Takes what the environment says and removes it from there, so that no child believes that it
  // was meant: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES.
  // Descriptors and watchdog only where they are for this process. Never throws because of what it
  // finds there. Call it before anything else opens descriptors or starts threads.
  static ServiceManager from_environment();

  bool is_there() const { return !socket_.empty(); }

  // The service serves (again): after the start and after each reload. Names this process as the
  // main one, for it may have taken over from another. `status` is one line for people.
  void ready(std::string_view status);
  // A reload begins; ready() ends it.
  void reloading();
  void stopping(std::string_view status);
  // This and watchdog() never wait; the others a tenth of a second at most, for a service manager
  // that does not read.
  void status(std::string_view status);

  // Another process goes on in this one's place: NotifyAccess=main hears of it from this one alone.
  void main_process(pid_t pid);
  // "NAME=value", for that process.
  std::vector<std::string> environment_for_successor() const;

  // How often watchdog() has to be said, half of the time after which the service manager takes the
  // service for dead; none when it does not watch.
  std::optional<std::chrono::microseconds> watchdog_interval() const { return watchdog_; }
  void watchdog();

  // Puts copies of the descriptors into the service manager's store, which hands them to the next
  // process under this name (FileDescriptorStoreMax= must allow it). `name`: 1 to 255 printable
  // ASCII characters without ":". False when there is no store or the message did not get through;
  // whether the store had room is not told.
  bool store(std::string_view name, std::span<const int> descriptors);
  // Closes what the store has under this name.
  bool forget(std::string_view name);
  // Waits until the service manager has read everything that was said: for whoever ends right after
  // store(). False when it has not within `time`.
  bool await_read(std::chrono::milliseconds time);

  // Takes the descriptors of that name out of what was handed over, in their order.
  std::vector<ActivatedDescriptor> take(std::string_view name);
  // Takes the first stream socket of AF_UNIX that listens, whatever its name.
  std::optional<ActivatedDescriptor> take_listener();
  // What nobody has taken. It is closed with this object.
  const std::vector<ActivatedDescriptor>& rest() const { return activated_; }
  void close_rest() { activated_.clear(); }

 private:
  // Waits that long for room at the other end.
  bool tell(std::string_view text, std::span<const int> descriptors = {},
            std::chrono::milliseconds patience = std::chrono::milliseconds(100));

  std::string socket_;  // as in NOTIFY_SOCKET; empty: there is no one to tell
  std::optional<std::chrono::microseconds> watchdog_;
  std::vector<ActivatedDescriptor> activated_;
  bool trouble_said_ = false;
};

}  // namespace portpool
