#include "daemon/health.h"

#include <fmt/format.h>

#include <utility>

#include "base/number_text.h"
#include "base/text.h"
#include "portpool/structure.h"

namespace portpool {
namespace {

HttpPage verdict(const std::string& in_the_way) {
  HttpPage page{"text/plain; charset=utf-8", "ok\n"};
  if (in_the_way.empty()) return page;
  page.status = "503 Service Unavailable";
  page.body = for_terminal(in_the_way) + "\n";
  return page;
}

std::string standstill(std::uint64_t heartbeat_age_ms) {
  if (heartbeat_age_ms <= kHeartbeatStaleMs) return "";
  return fmt::format("the event loop has not come round for {}: programs are on the kernel's path",
                     seconds_text(static_cast<double>(heartbeat_age_ms) / 1000));
}

}  // namespace

void Health::note(std::string in_the_way) {
  const std::lock_guard lock(mutex_);
  in_the_way_ = std::move(in_the_way);
}

HttpPage Health::healthz(std::uint64_t heartbeat_age_ms) const {
  return verdict(standstill(heartbeat_age_ms));
}

HttpPage Health::readyz(std::uint64_t heartbeat_age_ms) const {
  const std::string stands = standstill(heartbeat_age_ms);
  if (!stands.empty()) return verdict(stands);
  const std::lock_guard lock(mutex_);
  return verdict(in_the_way_);
}

}  // namespace portpool
