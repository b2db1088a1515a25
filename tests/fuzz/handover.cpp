// What comes over poold's socket, read by commands (the segment), by a successor (everything), and
// by poold itself (comparisons, take-over).
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <span>
#include <string>
#include <vector>

#include "base/descriptor_passing.h"
#include "base/error.h"
#include "daemon/comparison_server.h"
#include "daemon/predecessor.h"
#include "daemon/successor.h"
#include "fuzz/input.h"
#include "lanes/segment.h"
#include "observe/segment_reader.h"

using namespace portpool;
using fuzz::require;

namespace {

struct Pair {
  Descriptor ours;
  Descriptor theirs;

  Pair() {
    int ends[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    ours = Descriptor(ends[0]);
    theirs = Descriptor(ends[1]);
  }
};

// Messages as the input has them, each with its descriptors; then the end.
void say(Pair& pair, fuzz::Input& input) {
  static const Descriptor file(memfd_create("fuzz", MFD_CLOEXEC));
  while (!input.empty()) {
    const auto length = input.number<std::uint8_t>();
    const std::vector<int> descriptors(input.number<std::uint8_t>() % 16, file.get());
    const std::string message(input.text(length));
    if (!message.empty()) {
      send_with_descriptors(pair.theirs.get(), std::as_bytes(std::span(message)), descriptors);
    }
  }
  shutdown(pair.theirs.get(), SHUT_WR);
}

// The lowest that is free: one that came and stayed would raise it.
int next_descriptor() {
  const Descriptor probe(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return probe.get();
}

void command(Pair& pair) {
  try {
    const SegmentFiles files = receive_segment(pair.ours, "socket");
    require(files.structure && files.hints);
  } catch (const SegmentError&) {
  }
}

void successor(Pair& pair) {
  try {
    auto predecessor = Predecessor::ask(std::move(pair.ours), "socket");
    if (!predecessor) return;
    (void)predecessor->layout();
    (void)predecessor->take_files();
    predecessor->become_owner();
    predecessor->say_running(true);
    std::vector<pid_t> clients;
    for (int i = 0; i < 8 && predecessor->hear_clients(clients); ++i) {
    }
    for (const pid_t pid : clients) require(pid > 0);
  } catch (const UserError&) {
  }
}

void predecessor(Pair& pair) {
  static const Descriptor file(memfd_create("fuzz", MFD_CLOEXEC));
  static const Pair listener;
  Successor successor(std::move(pair.ours));
  if (!successor.hear_question()) return;
  int let_go = 0;
  const auto end = successor.hand_over(
      {{file.get(), file.get(), listener.ours.get()}, 4096, 4096}, [] {}, [&] { ++let_go; });
  require(let_go == (end == Successor::End::kept ? 0 : 1));
}

void comparison(Pair& pair) {
  static Segment segment{{.lanes = 1, .shards = 1}, {}};
  segment.publish();
  EventLoop loop;
  ArmSwitch arms(loop, segment, Strategy::port_range);
  ComparisonServer server(loop, arms, [](Descriptor) {});
  server.keep(std::move(pair.ours));
  const int end = loop.add_timer([&] { loop.stop(); });
  loop.set_timer(end, std::chrono::microseconds(200));
  loop.run();
  const Mode mode = Control::unpack(segment.header().control.load()).mode;
  require(mode == Mode::pool || mode == Mode::ab);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  void (*const readers[])(Pair&) = {command, successor, predecessor, comparison};
  const auto reader = readers[input.number<std::uint8_t>() % std::size(readers)];
  // What is made once stays open.
  static const bool warm = [&] {
    for (const auto each : readers) {
      Pair pair;
      fuzz::Input nothing(nullptr, 0);
      say(pair, nothing);
      each(pair);
    }
    return true;
  }();
  require(warm);
  const int before = next_descriptor();
  {
    Pair pair;
    say(pair, input);
    reader(pair);
  }
  require(next_descriptor() == before);
  return 0;
}
