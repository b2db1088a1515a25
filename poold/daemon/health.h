// What /healthz and /readyz answer (docs/metrics.md): does the event loop come round, and can
// programs be served? The thread that serves pages asks; the loop itself says how it stands, so
// that a loop that hangs is seen by its heartbeat.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "daemon/http_server.h"

namespace portpool {

class Health {
 public:
  // From the event loop, again and again: what keeps programs from being served; "": nothing.
  void note(std::string in_the_way);

  HttpPage healthz(std::uint64_t heartbeat_age_ms) const;
  HttpPage readyz(std::uint64_t heartbeat_age_ms) const;

 private:
  mutable std::mutex mutex_;
  std::string in_the_way_ = "poold is starting";
};

}  // namespace portpool
