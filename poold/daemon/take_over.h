// What a poold and its successor say to each other, on the connection on which the successor was
// handed the segment like any visitor (portpool/handover.h). docs/upgrade.md tells the story.
//
//   successor                     predecessor
//   ask              ------>      stops all work but the heartbeat and the attaching of programs
//                    <------      handed, with its descriptors
//   checks, reads only
//   ready            ------>      lets go of what only one can have (the metrics' address)
//                    <------      yours
//   writes from here on
//   running          ------>
//                    <------      clients, and the pids; ends
//
// Only the predecessor decides: until it has said `yours` it may say `withdrawn` and go on as if
// nothing had been asked. A connection that ends without a word means that the other has died: the
// successor then owns what it was handed; the predecessor goes on with what is in the segment.
//
// Every version of poold reads the messages of every other: they do not change but by `protocol`.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "portpool/structure.h"

namespace portpool {

enum class TakeOverStep : std::uint32_t {
  ask = 1,
  handed = 2,
  ready = 3,
  yours = 4,
  running = 5,    // value: 1 when the predecessor's files are in use, 0 when there are new ones
  clients = 6,    // value: how many pids (std::int32_t) follow
  withdrawn = 7,  // it took too long
  refused = 8,    // this poold has no successor, or speaks another `protocol`
};

struct TakeOverMessage {
  static constexpr std::uint64_t kMagicWord = 0x0A5245564F544B54ULL;
  static constexpr std::uint32_t kProtocol = 1;

  std::uint64_t magic = kMagicWord;
  std::uint32_t protocol = kProtocol;
  TakeOverStep step = TakeOverStep::ask;
  // The sender's; of another layout's files nothing but their size is known.
  std::uint16_t layout_major = kLayoutMajor;
  std::uint16_t layout_minor = kLayoutMinor;
  std::uint32_t value = 0;
  std::uint64_t structure_size = 0;  // bytes; with `handed`
  std::uint64_t hints_size = 0;
};
static_assert(sizeof(TakeOverMessage) == 40);

// The descriptors that come with `handed`, in this order; the lock where there is one.
enum HandedDescriptor : std::size_t { kStructureFile, kHintsFile, kListener, kLock, kHandedMost };

// How long a predecessor waits for `ready` before it withdraws, and for `running` before it leaves
// a successor that hangs alone with what is its own by then. Programs judge by the heartbeat, which
// goes on meanwhile.
inline constexpr std::chrono::seconds kReadyPatience{3};
inline constexpr std::chrono::seconds kRunningPatience{10};
// How long a successor waits for an answer: longer than the other side ever needs.
inline constexpr std::chrono::seconds kPredecessorPatience{5};

}  // namespace portpool
