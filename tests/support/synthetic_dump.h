// sock_diag answers for socket tables larger than a test machine holds, in buffers as the kernel
// fills them (32 KiB a piece, inet_diag_msg with its alignment).
#pragma once

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace portpool::test {

class SyntheticDump {
 public:
  static constexpr std::uint32_t kSequence = 7;
  using Buffer = std::vector<unsigned char>;

  // IPv4 addresses and ports in host order; timer_ms counts for TIME_WAIT and its like.
  void add(std::uint32_t source, std::uint16_t port, std::uint32_t destination,
           std::uint16_t destination_port, std::uint8_t state, std::uint32_t timer_ms) {
    struct {
      nlmsghdr header;
      inet_diag_msg message;
    } const entry = {{sizeof entry, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, kSequence, 0}, [&] {
                       inet_diag_msg message{};
                       message.idiag_family = AF_INET;
                       message.idiag_state = state;
                       message.idiag_timer = timer_ms != 0 ? 3 : 0;
                       message.idiag_expires = timer_ms;
                       message.id.idiag_sport = htons(port);
                       message.id.idiag_dport = htons(destination_port);
                       message.id.idiag_src[0] = htonl(source);
                       message.id.idiag_dst[0] = htonl(destination);
                       return message;
                     }()};
    static_assert(sizeof entry % NLMSG_ALIGNTO == 0);
    if (buffers_.empty() || buffers_.back().size() + sizeof entry > kBufferSize) {
      buffers_.emplace_back();
      buffers_.back().reserve(kBufferSize);
    }
    const auto* bytes = reinterpret_cast<const unsigned char*>(&entry);
    buffers_.back().insert(buffers_.back().end(), bytes, bytes + sizeof entry);
    ++sockets_;
  }

  const std::vector<Buffer>& buffers() const { return buffers_; }
  std::uint64_t sockets() const { return sockets_; }

 private:
  static constexpr std::size_t kBufferSize = 32768;

  std::vector<Buffer> buffers_;
  std::uint64_t sockets_ = 0;
};

}  // namespace portpool::test
