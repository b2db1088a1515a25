// How sockets of a dump are sorted into a lane's sets.
#include "lanes/truth.h"

#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include "base/address_text.h"
#include "unit/contract/lane_memory.h"

namespace portpool::test {
namespace {

enum class Where { nowhere, used, waiting, reusable0, reusable1, reusable2 };

class Truth : public ::testing::Test {
 protected:
  Truth() {
    record_.key = {*parse_address("10.0.0.1"), *parse_address("10.0.0.2"), 443};
    record_.range = {40000, 40099};
  }

  Where sorted(const kernel::TimeWaitReuse& reuse, std::uint8_t state, std::uint32_t timer_ms) {
    collector_.begin(reuse);
    collector_.expect({record_.key, record_.ref, record_.range}, *lane_);
    kernel::SocketRecord socket;
    socket.local = {record_.key.source, 40007};
    socket.remote = {record_.key.destination, record_.key.destination_port};
    socket.state = state;
    socket.timer_ms = timer_ms;
    collector_.add(socket);
    const TruthWord& truth = collector_.find(record_.key)->word(word_of_port(40007));
    const auto has = [](std::uint64_t bits) { return (bits & bit_of_port(40007)) != 0; };
    std::uint64_t sets = has(truth.used) + has(truth.waiting);
    for (const std::uint64_t bits : truth.reusable) sets += has(bits);
    EXPECT_LE(sets, 1U);
    if (has(truth.used)) return Where::used;
    if (has(truth.waiting)) return Where::waiting;
    if (has(truth.reusable[0])) return Where::reusable0;
    if (has(truth.reusable[1])) return Where::reusable1;
    if (has(truth.reusable[2])) return Where::reusable2;
    return Where::nowhere;
  }

  TruthCollector collector_;
  LaneRecord record_;
  std::unique_ptr<LaneHints> lane_ = make_lane();
};

constexpr kernel::TimeWaitReuse kNever{0, 1000};
constexpr kernel::TimeWaitReuse kAlways{1, 1000};
constexpr kernel::TimeWaitReuse kLoopback{2, 1000};

TEST_F(Truth, LiveSocketsAreUsed) {
  for (const std::uint8_t state : {TCP_ESTABLISHED, TCP_SYN_SENT, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
                                   TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING}) {
    EXPECT_EQ(sorted(kAlways, state, 0), Where::used) << int{state};
  }
}

TEST_F(Truth, TimeWaitWaitsWithoutReuse) {
  EXPECT_EQ(sorted(kNever, TCP_TIME_WAIT, 100), Where::waiting);
  EXPECT_EQ(sorted(kLoopback, TCP_TIME_WAIT, 100), Where::waiting);
}

TEST_F(Truth, TimeWaitIsReusableOnceOldEnough) {
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 60'000), Where::waiting);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 59'000), Where::waiting);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 58'999), Where::reusable2);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 55'001), Where::reusable2);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 55'000), Where::reusable1);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 40'001), Where::reusable1);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 40'000), Where::reusable0);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 1), Where::reusable0);
}

TEST_F(Truth, AgeFollowsTheKernelsDelay) {
  EXPECT_EQ(sorted({1, 30'000}, TCP_TIME_WAIT, 30'000), Where::waiting);
  EXPECT_EQ(sorted({1, 30'000}, TCP_TIME_WAIT, 29'999), Where::reusable0);
  EXPECT_EQ(sorted({1, 0}, TCP_TIME_WAIT, 59'999), Where::reusable2);
}

TEST_F(Truth, ATimerLongerThanTimeWaitWaits) {
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 60'001), Where::waiting);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, ~std::uint32_t{0}), Where::waiting);
}

TEST_F(Truth, AnOrphanInFinWait2IsNeverReusable) {
  EXPECT_EQ(sorted(kAlways, TCP_FIN_WAIT2, 1), Where::waiting);
}

TEST_F(Truth, LoopbackModeLooksAtBothEnds) {
  record_.key.destination = *parse_address("127.0.0.1");
  EXPECT_EQ(sorted(kLoopback, TCP_TIME_WAIT, 1), Where::reusable0);
  record_.key = {*parse_address("127.9.9.9"), *parse_address("10.0.0.2"), 443};
  EXPECT_EQ(sorted(kLoopback, TCP_TIME_WAIT, 1), Where::reusable0);
  record_.key = {*parse_address("::1"), *parse_address("::1"), 443};
  EXPECT_EQ(sorted(kLoopback, TCP_TIME_WAIT, 1), Where::reusable0);
}

TEST_F(Truth, OtherTuplesAreLeftOut) {
  collector_.begin(kAlways);
  collector_.expect({record_.key, record_.ref, record_.range}, *lane_);
  const Endpoint local{record_.key.source, 40007};
  const Endpoint remote{record_.key.destination, 443};
  const Endpoint other{*parse_address("10.0.0.9"), 443};
  for (const auto& [near, far] : {std::pair{local, other}, std::pair{other, remote},
                                  std::pair{local, Endpoint{remote.address, 444}}}) {
    kernel::SocketRecord socket;
    socket.local = near;
    socket.remote = far;
    socket.state = TCP_ESTABLISHED;
    collector_.add(socket);
  }
  for (const TruthWord& word : collector_.find(record_.key)->words())
    EXPECT_FALSE(word.has_sockets());
  EXPECT_EQ(collector_.find({other.address, remote.address, 443}), nullptr);
}

// The collector uses its memory again, for lanes of other ranges too.
TEST_F(Truth, BeginForgetsEarlierDumps) {
  EXPECT_EQ(sorted(kAlways, TCP_ESTABLISHED, 0), Where::used);
  EXPECT_EQ(sorted(kAlways, TCP_TIME_WAIT, 1), Where::reusable0);
  record_.range = {39000, 41000};
  EXPECT_EQ(sorted(kNever, TCP_TIME_WAIT, 1), Where::waiting);
  const LaneKey before = record_.key;
  record_.key.destination_port = 444;
  collector_.begin(kAlways);
  collector_.expect({record_.key, record_.ref, record_.range}, *lane_);
  EXPECT_EQ(collector_.find(before), nullptr);
  for (const TruthWord& word : collector_.find(record_.key)->words())
    EXPECT_FALSE(word.has_sockets());
}

TEST_F(Truth, ForgetsOnePort) {
  for (const auto& [state, timer] : {std::pair<std::uint8_t, std::uint32_t>{TCP_ESTABLISHED, 0},
                                     {TCP_TIME_WAIT, 59'500},
                                     {TCP_TIME_WAIT, 1}}) {
    ASSERT_NE(sorted(kAlways, state, timer), Where::nowhere);
    kernel::SocketRecord neighbour;
    neighbour.local = {record_.key.source, 40009};
    neighbour.remote = {record_.key.destination, record_.key.destination_port};
    neighbour.state = TCP_ESTABLISHED;
    collector_.add(neighbour);
    collector_.forget(record_.key, 40007);
    const TruthWord& truth = collector_.find(record_.key)->word(word_of_port(40007));
    std::uint64_t others = truth.waiting;
    for (const std::uint64_t bits : truth.reusable) others |= bits;
    EXPECT_EQ(others, 0U);
    EXPECT_EQ(truth.used, bit_of_port(40009));
  }
}

TEST_F(Truth, RemembersHowTheMapsStoodBefore) {
  make_free(*lane_, 40000, 40009);
  put_port(port_map(*lane_, PortMapId::quarantine), 40010);
  put_port(reuse_map(*lane_, 2), 40011);
  put_port(port_map(*lane_, PortMapId::rejected), 40012);
  put_port(port_map(*lane_, PortMapId::blocked), 40013);
  collector_.begin(kAlways);
  collector_.expect({record_.key, record_.ref, record_.range}, *lane_);
  const LaneTruth& truth = *collector_.find(record_.key);
  for (std::uint16_t port = 40000; port < 40020; ++port) {
    const TruthWord& word = truth.word(word_of_port(port));
    const auto bit = [&](std::uint64_t bits) { return (bits & bit_of_port(port)) != 0; };
    EXPECT_EQ(bit(word.released_before), port == 40010 || port == 40011) << port;
    EXPECT_EQ(bit(word.unmapped_before), port > 40013) << port;
  }
}

// An idle lane costs a pass nothing to remember.
TEST_F(Truth, KeepsWordsOnlyWhereThereIsSomethingToSay) {
  record_.range = {32768, 60999};
  make_free(*lane_, 32768, 60999);
  collector_.begin(kAlways);
  collector_.expect({record_.key, record_.ref, record_.range}, *lane_);
  EXPECT_TRUE(collector_.find(record_.key)->words().empty());
  EXPECT_EQ(sorted(kAlways, TCP_ESTABLISHED, 0), Where::used);
  EXPECT_EQ(collector_.find(record_.key)->words().size(), 1U);
}

TEST_F(Truth, TellsPortsThatStandTwice) {
  make_free(*lane_, 40000, 40099);
  collector_.begin(kAlways);
  collector_.expect({record_.key, record_.ref, record_.range}, *lane_);
  EXPECT_FALSE(collector_.find(record_.key)->has_doubles());
  put_port(port_map(*lane_, PortMapId::rejected), 40012);
  collector_.begin(kAlways);
  collector_.expect({record_.key, record_.ref, record_.range}, *lane_);
  EXPECT_TRUE(collector_.find(record_.key)->has_doubles());
}

// In a lane of promises a port counts by the sockets that have it, whatever their destination.
TEST_F(Truth, PromisesCountSocketsOfTheirSource) {
  const auto any_v4 = address_from_v4({INADDR_ANY});
  const Address sources[] = {record_.key.source, any_v4, Address{}, *parse_address("10.0.0.7")};
  collector_.begin(kNever);
  for (const Address& source : sources) {
    collector_.expect({promises_of(source), record_.ref, record_.range}, *lane_);
  }
  const auto add = [&](std::uint16_t port, const char* to, std::uint32_t timer_ms = 0) {
    kernel::SocketRecord socket;
    socket.local = {record_.key.source, port};
    socket.remote = {*parse_address(to), 443};
    socket.state = timer_ms != 0 ? TCP_TIME_WAIT : TCP_ESTABLISHED;
    socket.timer_ms = timer_ms;
    collector_.add(socket);
  };
  add(40007, "10.0.0.2");
  for (const char* to : {"10.0.0.2", "10.0.0.3"}) add(40009, to);
  for (const char* to : {"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}) add(40011, to);
  add(40013, "10.0.0.2", 59'000);
  const auto users_of = [&](const Address& source, std::uint16_t port) {
    const TruthWord& word = collector_.find(promises_of(source))->word(word_of_port(port));
    EXPECT_EQ((word.used | word.waiting) & bit_of_port(port), 0U);
    std::string places;
    for (std::size_t i = 0; i < kReuseMaps; ++i) {
      if ((word.reusable[i] & bit_of_port(port)) != 0) places += std::to_string(i);
    }
    return places;
  };
  for (const Address& source : {sources[0], sources[1], sources[2]}) {
    EXPECT_EQ(users_of(source, 40007), "0") << to_text(source);
    EXPECT_EQ(users_of(source, 40009), "1") << to_text(source);
    EXPECT_EQ(users_of(source, 40011), "2") << to_text(source);
    EXPECT_EQ(users_of(source, 40013), "0") << to_text(source);
    EXPECT_EQ(users_of(source, 40015), "") << to_text(source);
  }
  EXPECT_EQ(users_of(sources[3], 40007), "");
}

}  // namespace
}  // namespace portpool::test
