// Connections that stay open: they occupy the ports of the range, as the kernel chose them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace portpool::bench {

// Both ends of each connection are held by child processes, several where the limit of open files
// asks for it.
class HeldConnections {
 public:
  explicit HeldConnections(int listener) : listener_(listener) {}
  ~HeldConnections();
  HeldConnections(const HeldConnections&) = delete;
  HeldConnections& operator=(const HeldConnections&) = delete;

  // Opens connections until `count` are held. Throws std::runtime_error when the kernel refuses.
  void grow_to(std::size_t count);

  // The local ports of the connections held now.
  const std::vector<std::uint16_t>& ports() const { return ports_; }

 private:
  void add(std::size_t count);

  int listener_;
  std::vector<pid_t> holders_;
  std::vector<std::uint16_t> ports_;
};

}  // namespace portpool::bench
