// The question to the directory: which lanes may a connect() use?
#pragma once

#include "portpool/fallback.h"
#include "portpool/segment.h"
#include "shim/call.h"

namespace portpool::shim {

// Who decides about the source address of a socket.
enum class SourceBy {
  program,  // it is bound
  pool,     // by the sources that it names
  route,    // the kernel, as poold was told
  asking,   // the kernel, as it says of this socket (route.h)
};

struct Question {
  LaneKey key;
  LaneChoice choice;  // the answer
  SourceBy by = SourceBy::route;

  Endpoint endpoint() const { return destination_of(key); }
};

// The key, as far as it follows from the call. False: there are no lanes for such an address.
bool key_of(const Call& call, const SocketState& state, LaneKey& key);

// Finds lanes, or asks for them. For a socket that need not follow poold's route the kernel is
// asked for its source address first; its lanes are then those of a socket that is bound to it.
// False: no lanes, because of `why`.
bool ask_for_lanes(const Call& call, const SocketState& state, const SegmentView& view,
                   Question& question, FallbackReason& why);

// The same once more, when it has turned out that the kernel will choose `source`.
bool ask_for_lanes_of(const Address& source, const SegmentView& view, Question& question,
                      FallbackReason& why);

}  // namespace portpool::shim
