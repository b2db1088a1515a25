#include "daemon/rewritten.h"

namespace portpool {

bool RewrittenDestinations::note(const Endpoint& destination) {
  if (contains(destination)) return false;
  if (until_.size() >= kMost) drop_old();
  if (until_.size() >= kMost) return false;
  until_[key_of(destination)] = Clock::now() + rest_;
  return true;
}

bool RewrittenDestinations::contains(const Endpoint& destination) const {
  const auto found = until_.find(key_of(destination));
  return found != until_.end() && Clock::now() < found->second;
}

void RewrittenDestinations::drop_old() {
  const auto now = Clock::now();
  std::erase_if(until_, [&](const auto& entry) { return entry.second <= now; });
}

}  // namespace portpool
