// The library's side: what a process gets from whoever listens at the socket (message, descriptors,
// both files), and what it does in a segment in which anything may stand. The socket is real; the
// library's functions for other programs are not there (exports.cpp).
#include "shim/attach.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/descriptor_passing.h"
#include "fuzz/damage.h"
#include "lanes/segment.h"
#include "portpool/bound_ports.h"
#include "portpool/handover.h"
#include "portpool/lane.h"
#include "portpool/trace.h"
#include "shim/lanes.h"
#include "shim/process.h"
#include "shim/record.h"

using namespace portpool;
using fuzz::require;

namespace {

// Says the same to everybody who comes.
class Listener {
 public:
  Listener() {
    char folder[] = "/tmp/portpool-fuzz.XXXXXX";
    require(mkdtemp(folder) != nullptr);
    folder_ = folder;
    path_ = folder_ + "/socket";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, path_.size());
    require(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    require(listen(socket_.get(), 8) == 0);
    shim::settings.socket_path = path_.c_str();
    std::thread([this] { run(); }).detach();
    std::atexit([] {
      unlink(shim::settings.socket_path);
      rmdir(std::string(shim::settings.socket_path, std::strrchr(shim::settings.socket_path, '/'))
                .c_str());
    });
  }

  // To be called before somebody comes.
  void say(std::string_view message, std::vector<int> descriptors) {
    const std::lock_guard lock(mutex_);
    message_ = message;
    descriptors_ = std::move(descriptors);
  }

 private:
  void run() {
    for (;;) {
      const Descriptor visitor(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      const std::lock_guard lock(mutex_);
      if (!message_.empty()) {
        send_with_descriptors(visitor.get(), std::as_bytes(std::span(message_)), descriptors_);
      }
    }
  }

  Descriptor socket_{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::string folder_;
  std::string path_;
  std::mutex mutex_;
  std::string message_;
  std::vector<int> descriptors_;
};

LaneKey key_of(std::uint32_t lane) {
  const Address here = address_from_v4({htonl(0x7F000002)});
  return {{}, here, static_cast<std::uint16_t>(9000 + lane)};
}

constexpr PortRange kRange{20000, 20255};

struct World {
  Segment segment{{.lanes = 4, .shards = 1}, {}};
  Descriptor stray{memfd_create("stray", MFD_CLOEXEC)};
  Listener listener;

  World() {
    segment.publish();
    const StructureWriter writer = segment.writer();
    const SegmentView& view = segment.view();
    for (std::uint32_t lane = 0; lane < view.lane_count(); ++lane) {
      LaneInfo& info = writer.lane_info(lane);
      store_key(info.key, key_of(lane));
      info.ports = kRange.pack();
      info.generation = 7;
      LaneChoice choice;
      choice.count = 1;
      choice.lanes[0] = {lane, 7};
      writer.write_entry(view.directory_start(hash_of(key_of(lane))), key_of(lane), choice);
      for (std::uint32_t port = kRange.low; port <= kRange.high; ++port) {
        put_port(free_map(view.lane_hints(lane), port % 3), static_cast<std::uint16_t>(port));
      }
    }
  }
};

// As a connect() does, without the socket.
void use(const SegmentView& view, std::uint64_t random) {
  for (std::uint32_t lane = 0; lane < 4; ++lane) {
    shim::request_lane(view, key_of(lane));
    (void)required_range(view, destination_of(key_of(lane)));
    LaneChoice choice;
    if (!find_lanes(view, key_of(lane), choice)) continue;
    require(choice.count <= kLanesPerEntry);
    for (std::uint32_t i = 0; i < choice.count; ++i) {
      const LaneRef ref = choice.lanes[i];
      for (int round = 0; round < 4; ++round, random = detail::next_random(random)) {
        Port port;
        const LaneInfo& info = view.lane_info(ref.index);
        const PortRange range = PortRange::unpack(info.ports.load());
        if (claim_port(view, ref, static_cast<Offer>(round % 3),
                       shim::random_at(random) % 2 == 0 ? Parity::even : Parity::odd, random,
                       port) == Claim::port) {
          require(port.number() >= kLowestPort && range.contains(port.number()));
          shim::mark_used(view, view.lane_hints(ref.index));
          shim::give_back(view, ref, port.number(), static_cast<shim::Release>(round % 3));
        }
        if (view.bound_ports() != nullptr) {
          (void)claim_bound(view.lane_hints(ref.index), *view.bound_ports(), range, random);
        }
      }
      shim::ask_attention(view, ref);
    }
  }
  shim::record(&view, {Route::pool, Route::kernel, true, 0, random});
  shim::count(&view, FallbackReason::k_no_lane);
  if (view.has_trace()) write_trace(view, TraceRecord{});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // For good: the listener's thread has no end.
  static World& world = *new World;
  fuzz::Input input(data, size);
  // What is said: the right words, some of them changed, with these descriptors.
  HandoverMessage message;
  message.structure_size = world.segment.structure_size();
  message.hints_size = world.segment.hints_size();
  std::string said(reinterpret_cast<const char*>(&message), sizeof message);
  const auto how = input.number<std::uint8_t>();
  if ((how & 1) != 0) said[input.number<std::uint8_t>() % said.size()] ^= input.number<char>();
  if ((how & 2) != 0) said.resize(input.number<std::uint8_t>() % 48);
  std::vector<int> descriptors = {world.segment.structure_fd(), world.segment.hints_fd()};
  if ((how & 4) != 0) std::swap(descriptors[0], descriptors[1]);
  if ((how & 8) != 0) descriptors[how >> 7] = world.stray.get();
  if ((how & 16) != 0) descriptors.resize(input.number<std::uint8_t>() % 8, world.stray.get());
  // Both files are written before it looks, the hints again while it works there.
  auto* structure = reinterpret_cast<unsigned char*>(&world.segment.header());
  auto* hints = reinterpret_cast<unsigned char*>(&world.segment.view().hints());
  fuzz::Damage damage(world.segment.header(), {structure, world.segment.structure_size()},
                      {hints, world.segment.hints_size()});
  const bool damaged = (how & 32) != 0;
  while (damaged && !input.empty()) damage.write_any(input);
  world.listener.say(said, descriptors);
  shim::attach_at_start();
  const SegmentView* view = shim::mapped_segment();
  if (view != nullptr) {
    while (!input.empty()) damage.write_hints(input);
    use(*view, size * 0x9E3779B97F4A7C15U + how);
  }
  damage.undo();
  return 0;
}
