#include "kernel/addresses.h"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>

namespace portpool::kernel {
namespace {

struct Close {
  void operator()(mnl_socket* socket) const { ::mnl_socket_close(socket); }
};
using Socket = std::unique_ptr<mnl_socket, Close>;

constexpr std::uint32_t kSequence = 1;
constexpr std::size_t kBufferSize = 32768;  // what the kernel fills at most for one recv()
// A dump that a change of addresses has met may lack some.
constexpr int kTries = 3;
constexpr unsigned kV4BitsBefore = 96;  // of an IPv4 address in its 16-byte form

// Flags of interfaces by index, asked for once each.
class Interfaces {
 public:
  Interfaces() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  Interfaces(const Interfaces&) = delete;
  Interfaces& operator=(const Interfaces&) = delete;
  ~Interfaces() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool open() const { return fd_ >= 0; }

  // 0: it is gone.
  unsigned flags(unsigned index) {
    const auto [place, fresh] = flags_.emplace(index, 0);
    ifreq request{};
    request.ifr_ifindex = static_cast<int>(index);
    if (fresh && ::ioctl(fd_, SIOCGIFNAME, &request) == 0 &&
        ::ioctl(fd_, SIOCGIFFLAGS, &request) == 0) {
      place->second = static_cast<unsigned short>(request.ifr_flags);
    }
    return place->second;
  }

 private:
  int fd_;
  std::map<unsigned, unsigned> flags_;
};

struct Dump {
  Interfaces& interfaces;
  LocalAddresses found;
};

struct Attributes {
  const nlattr* address = nullptr;  // of the peer on a point-to-point interface
  const nlattr* local = nullptr;
  std::uint32_t flags = 0;
};

int on_attribute(const nlattr* attribute, void* data) {
  Attributes& attributes = *static_cast<Attributes*>(data);
  switch (::mnl_attr_get_type(attribute)) {
    case IFA_ADDRESS:
      attributes.address = attribute;
      break;
    case IFA_LOCAL:
      attributes.local = attribute;
      break;
    case IFA_FLAGS:
      if (::mnl_attr_get_payload_len(attribute) == sizeof(std::uint32_t)) {
        attributes.flags = ::mnl_attr_get_u32(attribute);
      }
      break;
    default:
      break;
  }
  return MNL_CB_OK;
}

bool address_of(const nlattr* attribute, Address& address) {
  const void* payload = ::mnl_attr_get_payload(attribute);
  in_addr v4;
  in6_addr v6;
  switch (::mnl_attr_get_payload_len(attribute)) {
    case sizeof v4:
      std::memcpy(&v4, payload, sizeof v4);
      address = address_from_v4(v4);
      return true;
    case sizeof v6:
      std::memcpy(&v6, payload, sizeof v6);
      address = address_from_v6(v6);
      return true;
    default:
      return false;
  }
}

int on_message(const nlmsghdr* header, void* data) {
  if (header->nlmsg_type != RTM_NEWADDR ||
      ::mnl_nlmsg_get_payload_len(header) < sizeof(ifaddrmsg)) {
    return MNL_CB_OK;
  }
  Dump& dump = *static_cast<Dump*>(data);
  const auto* message = static_cast<const ifaddrmsg*>(::mnl_nlmsg_get_payload(header));
  Attributes attributes;
  attributes.flags = message->ifa_flags;
  ::mnl_attr_parse(header, sizeof(ifaddrmsg), on_attribute, &attributes);
  const nlattr* own = attributes.local != nullptr ? attributes.local : attributes.address;
  Address address;
  if (own == nullptr || !address_of(own, address)) return MNL_CB_OK;
  const unsigned interface = dump.interfaces.flags(message->ifa_index);
  if ((interface & IFF_UP) == 0) return MNL_CB_OK;
  const bool tentative =
      (attributes.flags & IFA_F_TENTATIVE) != 0 && (attributes.flags & IFA_F_OPTIMISTIC) == 0;
  const bool duplicate = (attributes.flags & IFA_F_DADFAILED) != 0;
  if (tentative || duplicate) {
    using Pending = LocalAddresses::Pending;
    dump.found.add_pending(address, duplicate ? Pending::duplicate : Pending::tentative);
    return MNL_CB_OK;
  }
  dump.found.add(address);
  if ((interface & IFF_LOOPBACK) != 0 && message->ifa_family == AF_INET) {
    AddressPrefix prefix{address, kV4BitsBefore + message->ifa_prefixlen};
    in_addr base = v4_of(address);
    const unsigned rest = 32U - std::min<unsigned>(message->ifa_prefixlen, 32U);
    const std::uint32_t mask = rest >= 32 ? 0 : ~std::uint32_t{0} << rest;
    base.s_addr &= htonl(mask);
    prefix.base = address_from_v4(base);
    dump.found.add_loopback(prefix);
  }
  return MNL_CB_OK;
}

// Error number, 0 when the dump is complete.
int dump_once(mnl_socket* socket, Dump& dump) {
  alignas(nlmsghdr) std::array<char, kBufferSize> buffer{};
  nlmsghdr* header = ::mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = RTM_GETADDR;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = kSequence;
  auto* message = static_cast<ifaddrmsg*>(::mnl_nlmsg_put_extra_header(header, sizeof(ifaddrmsg)));
  message->ifa_family = AF_UNSPEC;
  if (::mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return errno;
  for (;;) {
    const ssize_t size = ::mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (size < 0) return errno;
    // EINTR here: NLM_F_DUMP_INTR.
    const int more = ::mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), kSequence,
                                  ::mnl_socket_get_portid(socket), on_message, &dump);
    if (more < 0) return errno;
    if (more == MNL_CB_STOP) return 0;
  }
}

// A socket for each try: what an interrupted dump leaves unread goes with it.
int try_to_dump(LocalAddresses& found) {
  Interfaces interfaces;
  if (!interfaces.open()) return errno;
  const Socket socket(::mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (!socket || ::mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) return errno;
  Dump dump{interfaces, {}};
  const int error = dump_once(socket.get(), dump);
  found = std::move(dump.found);
  return error;
}

}  // namespace

bool LocalAddresses::contains(const Address& address) const {
  if (std::find(addresses_.begin(), addresses_.end(), address) != addresses_.end()) return true;
  // The first and the last of a prefix are broadcast addresses.
  return std::any_of(loopback_.begin(), loopback_.end(), [&](const AddressPrefix& prefix) {
    const std::uint64_t size = prefix.size(std::uint64_t{1} << 32);
    return prefix.contains(address) && address != prefix.base && address != prefix.at(size - 1);
  });
}

Answer<LocalAddresses> local_addresses() {
  LocalAddresses found;
  int error = 0;
  for (int left = kTries; left > 0; --left) {
    error = try_to_dump(found);
    if (error == 0) return found;
    if (error != EINTR) break;
  }
  return Answer<LocalAddresses>::unknown(
      std::string("cannot ask the kernel for this host's addresses: ") + std::strerror(error));
}

}  // namespace portpool::kernel
