// What a starting poold may find to go on with. Empty: it begins anew.
#pragma once

#include <optional>

#include "daemon/predecessor.h"
#include "lanes/segment.h"

namespace portpool {

struct Inheritance {
  MemoryFiles files;                       // of a poold that runs, or that ran before
  std::optional<Predecessor> predecessor;  // it runs; files and socket are its own until it leaves
  Descriptor listener;                     // of the service manager's (SocketFile::activated())
};

}  // namespace portpool
