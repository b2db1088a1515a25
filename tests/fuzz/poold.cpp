// What poold makes of hints in which anything may stand: requests, attention, maps, counts; and, as
// a successor, of a structure too. The kernel's table is made up, everything else is poold's own
// work, a piece at a time on this thread.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "daemon/answers.h"
#include "daemon/attention.h"
#include "daemon/pass.h"
#include "daemon/recorder.h"
#include "fuzz/damage.h"
#include "lanes/lane_update.h"
#include "lanes/segment.h"
#include "observe/report.h"
#include "portpool/lane.h"

using namespace portpool;
using fuzz::require;

namespace {

constexpr SegmentSize kSize{.lanes = 4, .shards = 1};
constexpr std::uint16_t kDestinations = 2;

LaneKey question(std::uint16_t number) {
  return {{}, address_from_v4({htonl(0x7F000002)}), static_cast<std::uint16_t>(9000 + number)};
}

PoolRule rule() {
  PoolRule rule;
  rule.name = "default";
  rule.port_range = kernel::PortRange{40000, 40255};
  return rule;
}

// As the reconciler has them together.
struct Poold {
  explicit Poold(Segment& segment)
      : work{segment.writer(),
             {segment.writer(), {rule()}, Strategy::port_range},
             LaneTable(segment.writer()),
             {},
             {},
             {},
             {}},
        room(work),
        answers(work, room),
        pass(work, room),
        attention(
            work, [this] { pass.hurry(); },
            [this](const LaneRecord& lane) { answers.rewritten(lane); }) {
    work.settings.read();
  }

  // As if the kernel had that to tell.
  std::unique_ptr<Walk> walk(const WalkOrder& order) {
    auto result = std::make_unique<Walk>();
    result->blocked = work.blocked;
    result->truth.begin(order.reuse);
    for (const ExpectedLane& lane : order.lanes) {
      result->truth.expect(lane, work.structure.view().lane_hints(lane.ref.index));
    }
    for (const kernel::SocketRecord& socket : sockets) result->truth.add(socket);
    result->complete = true;
    return result;
  }
  void answer() {
    answers.rung();
    while (answers.run(Slice())) {
    }
    if (!answers.wants_walk()) return;
    const WalkOrder order = answers.begin_walk();
    answers.walked(walk(order));
    while (answers.run(Slice())) {
    }
  }
  void work_once() {
    answer();
    attention.serve();
    answers.free_dead_slots();
    if (pass.wants_walk()) {
      const WalkOrder order = pass.begin_walk();
      pass.walked(walk(order));
      while (pass.run(Slice())) {
      }
      while (room.run(Slice())) {
      }
    }
  }
  // What a few passes of one lane do.
  void mend(LaneRecord& record) {
    for (int i = 0; i < 4; ++i) {
      TruthCollector truth;
      truth.begin({});
      truth.expect({record.key, record.ref, record.range, Claims::none}, work.hints(record));
      for (const kernel::SocketRecord& socket : sockets) truth.add(socket);
      update_lane(work.hints(record), record, *truth.find(record.key), work.blocked);
      sweep_rejected(work.hints(record), record);
    }
  }

  LaneWork work;
  TableRoom room;
  Answers answers;
  Pass pass;
  Attention attention;
  std::vector<kernel::SocketRecord> sockets;
};

void ask(const SegmentView& view) {
  for (std::uint16_t i = 0; i < kDestinations; ++i) {
    store_key(view.request(i).key, question(i));
    view.request(i).state = static_cast<std::uint32_t>(RequestState::ready);
  }
}

void take_sockets(fuzz::Input& input, Poold& poold) {
  for (int left = input.number<std::uint8_t>() % 8; left > 0; --left) {
    kernel::SocketRecord socket;
    const LaneKey to = question(input.number<std::uint8_t>() % kDestinations);
    socket.local = {address_from_v4({htonl(0x7F000001)}),
                    static_cast<std::uint16_t>(40000U + input.number<std::uint8_t>())};
    socket.remote = destination_of(to);
    socket.state = static_cast<std::uint8_t>(1 + input.number<std::uint8_t>() % 11);
    socket.timer_ms = socket.state == TCP_TIME_WAIT ? input.number<std::uint16_t>() : 0;
    poold.sockets.push_back(socket);
  }
}

// Whatever stood in the maps: each port of a lane is in one place, and no other is there. A map
// without a mark at its top is empty to all who read it; what stands in its words is seen, and
// mended, when it gets one.
void require_mended(Poold& poold) {
  for (std::uint32_t place = 0; place < poold.work.lanes.end(); ++place) {
    LaneRecord* record = poold.work.lanes.at(place);
    if (record == nullptr || !record->filled || is_for_promises(record->key)) continue;
    poold.mend(*record);
    const LaneHints& hints = poold.work.hints(*record);
    for (std::size_t word = first_word(record->range); word <= last_word(record->range); ++word) {
      std::uint64_t seen = 0;
      for (std::size_t map = 0; map < kPortMaps; ++map) {
        if (hints.top[map].load() == 0) continue;
        const std::uint64_t bits = hints.words[map][word].load();
        require((bits & seen) == 0);
        seen |= bits;
      }
      std::uint64_t used = 0;
      std::uint64_t any = 0;
      for (const kernel::SocketRecord& socket : poold.sockets) {
        const bool here = socket.remote == destination_of(record->key) &&
                          socket.local.address == record->key.source &&
                          word_of_port(socket.local.port) == word;
        if (here) any |= bit_of_port(socket.local.port);
        if (here && socket.state != TCP_TIME_WAIT) used |= bit_of_port(socket.local.port);
      }
      const std::uint64_t range = range_bits(record->range, word);
      require((seen & used & range & ~poold.work.blocked.bits[word]) == 0);
      require((range & ~seen & ~any) == 0);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  Segment segment(kSize, {});
  segment.publish();
  auto poold = std::make_unique<Poold>(segment);
  ask(segment.view());
  poold->answer();
  const bool adopted = (input.number<std::uint8_t>() & 1) != 0;
  take_sockets(input, *poold);
  fuzz::Damage damage(
      segment.header(),
      {reinterpret_cast<unsigned char*>(&segment.header()), segment.structure_size()},
      {reinterpret_cast<unsigned char*>(&segment.view().hints()), segment.hints_size()});
  if (adopted) {
    while (!input.empty()) damage.write_any(input);
    std::string why;
    auto next =
        Segment::adopt({Descriptor(fcntl(segment.writable_structure_fd(), F_DUPFD_CLOEXEC, 0)),
                        Descriptor(fcntl(segment.hints_fd(), F_DUPFD_CLOEXEC, 0))},
                       kSize, {}, why);
    if (!next) {
      require(!why.empty());
      return 0;
    }
    next->sign();
    auto successor = std::make_unique<Poold>(*next);
    successor->sockets = poold->sockets;
    for (const auto& [answer, flags] : successor->work.lanes.adopt()) {
      if (successor->answers.is_outdated(answer)) successor->answers.ask_again(answer.question);
    }
    Recorder recorder(next->writer(), successor->work.lanes);
    for (int i = 0; i < 2; ++i) successor->work_once();
    recorder.record();
    require_mended(*successor);
    return 0;
  }
  while (!input.empty()) {
    for (int i = 0; i < 4 && !input.empty(); ++i) damage.write_hints(input);
    poold->work_once();
  }
  Recorder recorder(segment.writer(), poold->work.lanes);
  recorder.record();
  require_mended(*poold);
  (void)read_report(segment.view());
  return 0;
}
