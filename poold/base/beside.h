// Long work beside the event loop: one job at a time on a thread of its own, and a descriptor that
// tells the loop when it is done.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "base/descriptor.h"

namespace portpool {

class Beside {
 public:
  // Throws std::system_error: no descriptor or no thread to be had.
  Beside();
  // Waits for the job under way, which is told to end early.
  ~Beside();
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

  // Runs `job` on the thread. Not while one is under way. What the job uses is the thread's until
  // finish() has said that it is done: what was written before start() is seen there, and what the
  // job wrote is seen after finish(). `job` should look at ended_early() now and then.
  void start(std::function<void()> job);
  bool busy() const { return busy_; }
  bool ended_early() const { return ending_.load(std::memory_order_relaxed); }

  // Can be read when the job is done.
  int fd() const { return done_.get(); }
  // To be called then. False: it is not done. What the job threw is thrown here.
  bool finish();

 private:
  void run();

  Descriptor done_;  // an eventfd
  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<void()> job_;  // empty: none, or it has ended
  std::exception_ptr error_;
  std::atomic<bool> ending_ = false;
  bool busy_ = false;  // of the thread that calls start()
  std::thread thread_;
};

}  // namespace portpool
