#include "fault/crash/crash_control.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <system_error>

#include "base/descriptor.h"

namespace portpool::test {

CrashControl::CrashControl() {
  const std::string path = directory_.write("order", std::string(sizeof(CrashOrder), '\0'));
  const Descriptor file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  void* memory =
      mmap(nullptr, sizeof(CrashOrder), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), path);
  order_ = new (memory) CrashOrder{};
  setenv(kCrashOrderVariable, path.c_str(), 1);
}

CrashControl::~CrashControl() {
  if (stopped_ > 0) kill(stopped_, SIGCONT);
  unsetenv(kCrashOrderVariable);
  munmap(order_, sizeof *order_);
}

void CrashControl::order(const char* point, int signal, std::uint32_t nth,
                         std::chrono::milliseconds hold) {
  withdraw();
  std::strncpy(order_->point, point, sizeof order_->point - 1);
  order_->signal = static_cast<std::uint32_t>(signal);
  order_->obeyed_by.store(0);
  hold_ = hold;
  given_ = true;
  order_->passages_left.store(nth, std::memory_order_release);
}

bool CrashControl::withdraw() {
  if (!given_) return true;
  if (order_->passages_left.exchange(0) != 0) {
    given_ = false;
    return true;
  }
  // Who has made it 0 tells its name at once.
  while (given_) tend();
  return false;
}

void CrashControl::tend() {
  const pid_t by = given_ ? order_->obeyed_by.load(std::memory_order_acquire) : 0;
  if (by > 0) {
    given_ = false;
    ++obeyed_;
    if (order_->signal == SIGKILL) {
      killed_.insert(by);
    } else {
      stopped_ = by;
      continues_ = {};
    }
  }
  if (stopped_ < 0) return;
  if (continues_ == Clock::time_point{}) {
    siginfo_t state{};
    if (waitid(P_PID, static_cast<id_t>(stopped_), &state, WSTOPPED | WNOHANG) != 0) {
      stopped_ = -1;  // somebody has killed it meanwhile
    } else if (state.si_pid != 0) {
      continues_ = Clock::now() + hold_;
    }
  } else if (Clock::now() >= continues_) {
    kill(stopped_, SIGCONT);
    stopped_ = -1;
  }
}

}  // namespace portpool::test
