// From the predecessor's side: everything is handed to a poold that asked for it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "daemon/take_over.h"

namespace portpool {

class Successor {
 public:
  // `connection`: one that has sent the beginning of a TakeOverMessage; non-blocking.
  explicit Successor(Descriptor connection) : connection_(std::move(connection)) {}

  // Hears what it asks. False: it speaks another protocol, or has gone; that is the end of it.
  bool hear_question();
  void refuse();

  struct Estate {
    std::vector<int> descriptors;  // HandedDescriptor
    std::uint64_t structure_size;
    std::uint64_t hints_size;
  };
  enum class End {
    kept,        // it did not come to write anything: all is as before
    taken_back,  // it died while it may have written: what is in the segment is to be read anew
    given,       // it runs, with the files that it was handed
    replaced,    // it runs, with files of its own
  };
  // Stays here until it is known who goes on. `meanwhile` is called whenever the listener can be
  // read, and several times a second; `let_go` before the successor may write.
  End hand_over(const Estate& estate, const std::function<void()>& meanwhile,
                const std::function<void()>& let_go);
  // The last words, after `given` or `replaced`: who is attached.
  void say_goodbye(std::span<const pid_t> clients);

  // 0: it cannot be seen from here.
  pid_t pid() const;

 private:
  enum class Heard { expected, nothing, gone };
  Heard hear(TakeOverStep step, TakeOverMessage& message, std::chrono::seconds patience,
             int listener, const std::function<void()>& meanwhile);
  bool say(TakeOverStep step);

  Descriptor connection_;
};

}  // namespace portpool
