// A test that speaks for one side of a succession.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/descriptor_passing.h"
#include "daemon/take_over.h"
#include "portpool/handover.h"

namespace portpool::test {

template <class T>
std::span<const std::byte> bytes_of(const T& message) {
  return std::as_bytes(std::span(&message, 1));
}

// One end of the connection on which one poold follows another (daemon/take_over.h).
class Speaker {
 public:
  explicit Speaker(Descriptor connection) : connection_(std::move(connection)) {
    fcntl(connection_.get(), F_SETFL, 0);
  }

  void say(TakeOverStep step, std::uint32_t value = 0) {
    TakeOverMessage message;
    message.step = step;
    message.value = value;
    say(message);
  }
  void say(const TakeOverMessage& message, const std::vector<int>& descriptors = {}) {
    send_with_descriptors(connection_.get(), bytes_of(message), descriptors);
  }
  // What the other side says next; nothing when it has closed.
  std::optional<TakeOverMessage> hear() {
    pollfd ready{connection_.get(), POLLIN, 0};
    EXPECT_EQ(poll(&ready, 1, 60'000), 1) << "it says nothing";
    TakeOverMessage message;
    Received received =
        receive_with_descriptors(connection_.get(), std::as_writable_bytes(std::span(&message, 1)));
    if (received.bytes == 0) return std::nullopt;
    EXPECT_EQ(received.bytes, sizeof message);
    if (!received.descriptors.empty()) handed = std::move(received.descriptors);
    return message;
  }
  bool hears(TakeOverStep step) {
    const auto message = hear();
    return message && message->step == step;
  }
  void greet(const HandoverMessage& greeting) {
    send_with_descriptors(connection_.get(), bytes_of(greeting), {});
  }
  bool hear_greeting() {
    HandoverMessage greeting;
    return receive_with_descriptors(connection_.get(),
                                    std::as_writable_bytes(std::span(&greeting, 1)))
               .bytes == sizeof greeting;
  }
  void close() { connection_ = Descriptor(); }

  std::vector<Descriptor> handed;

 private:
  Descriptor connection_;
};

}  // namespace portpool::test
