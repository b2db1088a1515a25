#include "doctor/ownership.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "doctor/check.h"

namespace portpool::doctor {
namespace {

constexpr std::size_t kMostBusy = 64;  // looked into closely

class Sharing {
 public:
  explicit Sharing(const kernel::ProcessScan& scan) : scan_(scan) {}

  void add(std::uint32_t inode, std::uint8_t state) {
    if (inode == 0) return;
    const kernel::ProcessRecord* holder = scan_.holder_of(inode);
    Share& share = shares_[holder != nullptr ? holder->pid : 0];
    if (share.sockets++ == 0) {
      share.pid = holder != nullptr ? holder->pid : 0;
      share.process = holder != nullptr ? fmt::format("{} (pid {})", holder->name, holder->pid)
                                        : "processes that cannot be seen";
    }
    ++share.states[state % kStates];
  }

  std::vector<Share> take() {
    std::vector<Share> list;
    for (auto& [pid, share] : shares_) list.push_back(std::move(share));
    std::stable_sort(list.begin(), list.end(),
                     [](const Share& a, const Share& b) { return a.sockets > b.sockets; });
    return list;
  }

 private:
  const kernel::ProcessScan& scan_;
  std::map<pid_t, Share> shares_;
};

}  // namespace

const BusyProcess* Ownership::find(pid_t pid) const {
  const auto found = std::find_if(busy.begin(), busy.end(),
                                  [&](const BusyProcess& process) { return process.pid == pid; });
  return found != busy.end() ? &*found : nullptr;
}

Ownership find_owners(const Census& census, check::Daemons& daemons) {
  Ownership owners;
  owners.scan = kernel::scan_processes();
  std::vector<std::uint32_t> outgoing(owners.scan.processes.size());
  for (const OutgoingSocket& socket : census.outgoing) {
    if (socket.inode == 0) continue;
    const kernel::ProcessRecord* holder = owners.scan.holder_of(socket.inode);
    if (holder == nullptr) {
      ++owners.unattributed;
    } else {
      ++outgoing[static_cast<std::size_t>(holder - owners.scan.processes.data())];
    }
  }
  for (std::size_t i = 0; i < outgoing.size(); ++i) {
    if (outgoing[i] < kManyConnections) continue;
    const kernel::ProcessRecord& process = owners.scan.processes[i];
    owners.busy.push_back({process.pid, process.name, outgoing[i], process.open, {}, {}, {}});
  }
  std::stable_sort(
      owners.busy.begin(), owners.busy.end(),
      [](const BusyProcess& a, const BusyProcess& b) { return a.outgoing > b.outgoing; });
  if (owners.busy.size() > kMostBusy) owners.busy.resize(kMostBusy);
  for (BusyProcess& process : owners.busy) {
    process.open_limit = kernel::open_files_limit(process.pid);
    process.process = check::read_process(process.pid);
    if (process.has_library()) process.daemon = daemons.of(*process.process);
  }
  return owners;
}

std::vector<Share> shares_of_lane(const Census& census, const Ownership& owners,
                                  std::uint32_t lane) {
  Sharing sharing(owners.scan);
  for (const OutgoingSocket& socket : census.outgoing) {
    if (socket.lane == lane) sharing.add(socket.inode, socket.state);
  }
  return sharing.take();
}

std::vector<Share> shares_of(const std::vector<LocalSocket>& sockets, const Ownership& owners) {
  Sharing sharing(owners.scan);
  for (const LocalSocket& socket : sockets) sharing.add(socket.inode, 0);
  return sharing.take();
}

std::vector<Share> shares_of(const std::vector<OutgoingSocket>& sockets, const Ownership& owners) {
  Sharing sharing(owners.scan);
  for (const OutgoingSocket& socket : sockets) sharing.add(socket.inode, socket.state);
  return sharing.take();
}

std::string shares_text(const std::vector<Share>& shares, std::size_t most) {
  std::string text;
  for (std::size_t i = 0; i < shares.size() && i < most; ++i) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", shares[i].process,
                        count_text(shares[i].sockets));
  }
  if (shares.size() > most) text += fmt::format(", and {} more", shares.size() - most);
  return text;
}

}  // namespace portpool::doctor
