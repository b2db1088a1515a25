// Clients and reconcile in random interleavings: whatever happened, after quiet and two updates
// each port stands exactly where the kernel's table says.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "unit/lanes/lane_model.h"

namespace portpool::test {
namespace {

class Clients {
 public:
  Clients(LaneModel& model, std::uint64_t seed) : model_(model), random_(seed) {}

  // One random act of a client, of the kernel's clock, or of the administrator.
  void act() {
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        if (const int port = claim(model_.lane(), random_()); port >= 0) {
          in_flight_.push_back(static_cast<std::uint16_t>(port));
        }
        break;
      case 3:
      case 4:
        if (!in_flight_.empty()) connect(pick(in_flight_));
        break;
      case 5:
        if (!connected_.empty()) close(pick(connected_));
        break;
      case 6:
        grow_older(any_port());
        break;
      default:
        if (random_() % 20 == 0) disturb(any_port());
    }
  }

  void acts(std::size_t most) {
    for (auto n = random_() % (most + 1); n > 0; --n) act();
  }

  // What was begun is finished; then nothing moves any more.
  void come_to_rest() {
    while (!in_flight_.empty()) connect(pick(in_flight_));
  }

  std::uint16_t any_port() {
    return static_cast<std::uint16_t>(model_.low() +
                                      random_() % (model_.high() - model_.low() + 1U));
  }

 private:
  std::uint16_t pick(std::vector<std::uint16_t>& ports) {
    std::swap(ports[random_() % ports.size()], ports.back());
    const std::uint16_t port = ports.back();
    ports.pop_back();
    return port;
  }

  void connect(std::uint16_t port) {
    const Socket socket = model_.socket(port);
    if (model_.blocked(port) || socket == Socket::used || socket == Socket::waiting) {
      put_port(port_map(model_.lane(), PortMapId::rejected), port);
      return;
    }
    model_.set(port, Socket::used);
    connected_.push_back(port);
  }

  void close(std::uint16_t port) {
    model_.set(port, random_() % 2 == 0 ? Socket::waiting : Socket::none);
    switch (random_() % 4) {
      case 0:  // killed, or closed where the shim does not see it
        break;
      case 1:
        release(model_.lane(), port);
        break;
      default:
        put_port(port_map(model_.lane(), PortMapId::quarantine), port);
    }
  }

  void grow_older(std::uint16_t port) {
    const Socket socket = model_.socket(port);
    if (socket == Socket::none || socket == Socket::used) return;
    model_.set(port, socket == Socket::reusable0
                         ? Socket::none
                         : static_cast<Socket>(static_cast<int>(socket) + 1));
  }

  void disturb(std::uint16_t port) {
    switch (random_() % 3) {
      case 0:
        model_.block(port, !model_.blocked(port));
        break;
      case 1:  // a program without the shim
        if (model_.socket(port) == Socket::none) {
          model_.set(port, Socket::used);
          connected_.push_back(port);
        }
        break;
      default:  // a client that lies
        put_port(port_map(model_.lane(), map_id(random_() % kPortMaps)), port);
    }
  }

  LaneModel& model_;
  std::mt19937_64 random_;
  std::vector<std::uint16_t> in_flight_;
  std::vector<std::uint16_t> connected_;
};

class Interleaved : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(Interleaved, AfterQuietTheLaneEqualsTheTruth) {
  // From crowded (3 words) to roomy.
  const std::uint64_t seed = GetParam();
  const auto low = static_cast<std::uint16_t>(40000 + seed * 13);
  const auto high = static_cast<std::uint16_t>(low + 20 + seed * 37 % 700);
  LaneModel model(low, high);
  Clients clients(model, seed);
  model.fill();
  for (int round = 0; round < 100; ++round) {
    for (int pass = 0; pass < 5; ++pass) {
      clients.acts(60);
      model.begin();
      clients.acts(20);
      const std::uint16_t middle = clients.any_port();
      model.dump(low, middle);
      clients.acts(20);
      if (middle < high) model.dump(static_cast<std::uint16_t>(middle + 1), high);
      clients.acts(20);
      model.finish();
      if (pass == 2) sweep_rejected(model.lane(), model.record());
    }
    clients.come_to_rest();
    // Refused ports leave their map after two sweeps, and ports no longer blocked theirs at once;
    // both are then sorted in like any other.
    model.reconcile();
    for (int i = 0; i < 2; ++i) sweep_rejected(model.lane(), model.record());
    for (int i = 0; i < 2; ++i) model.reconcile();
    ASSERT_EQ(model.misplaced(), std::vector<std::string>{}) << "round " << round;
    ASSERT_EQ(model.reconcile().total(), 0U) << "a lane that agrees must be left alone";
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Interleaved, ::testing::Range<std::uint64_t>(1, 41));

}  // namespace
}  // namespace portpool::test
