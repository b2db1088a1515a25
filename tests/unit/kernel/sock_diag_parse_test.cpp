#include "kernel/sock_diag_parse.h"

#include <gtest/gtest.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <random>
#include <vector>

#include "unit/kernel/tcp_sockets.h"

namespace portpool::kernel {
namespace {

constexpr std::uint32_t kSequence = 7;

// A buffer as the kernel would fill it.
class Answer {
 public:
  Answer& add(std::uint16_t type, const void* payload, std::size_t size, std::uint16_t flags = 0,
              std::uint32_t sequence = kSequence) {
    nlmsghdr header{};
    header.nlmsg_len = static_cast<__u32>(sizeof header + size);
    header.nlmsg_type = type;
    header.nlmsg_flags = flags;
    header.nlmsg_seq = sequence;
    append(&header, sizeof header);
    append(payload, size);
    bytes.resize(NLMSG_ALIGN(bytes.size()));
    return *this;
  }
  Answer& add_code(std::uint16_t type, int code) { return add(type, &code, sizeof code); }
  Answer& add_socket(std::uint16_t flags = 0, std::uint32_t sequence = kSequence) {
    inet_diag_msg message{};
    message.idiag_family = AF_INET;
    message.idiag_state = TCP_TIME_WAIT;
    message.idiag_timer = 3;
    message.idiag_expires = 1234;
    message.idiag_inode = 5;
    message.idiag_uid = 6;
    message.id.idiag_sport = htons(40000);
    message.id.idiag_dport = htons(443);
    message.id.idiag_src[0] = htonl(0x0A000001);
    message.id.idiag_dst[0] = htonl(0x0A000002);
    return add(SOCK_DIAG_BY_FAMILY, &message, sizeof message, flags, sequence);
  }

  std::vector<unsigned char> bytes;

 private:
  void append(const void* data, std::size_t size) {
    const auto* first = static_cast<const unsigned char*>(data);
    bytes.insert(bytes.end(), first, first + size);
  }
};

ParsedBuffer parse(const Answer& answer, std::vector<SocketRecord>* into = nullptr) {
  return parse_sock_diag(answer.bytes.data(), answer.bytes.size(), kSequence,
                         [&](const SocketRecord& record) {
                           if (into != nullptr) into->push_back(record);
                         });
}

TEST(SockDiagParse, ReadsEveryField) {
  std::vector<SocketRecord> records;
  const ParsedBuffer result = parse(Answer().add_socket().add_socket(), &records);
  EXPECT_FALSE(result.done);
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(result.error, 0);
  EXPECT_EQ(result.records, 2U);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[1].local, (Endpoint{address("10.0.0.1"), 40000}));
  EXPECT_EQ(records[1].remote, (Endpoint{address("10.0.0.2"), 443}));
  EXPECT_EQ(records[1].state, TCP_TIME_WAIT);
  EXPECT_EQ(records[1].timer_ms, 1234U);
  EXPECT_EQ(records[1].inode, 5U);
  EXPECT_EQ(records[1].uid, 6U);
  EXPECT_FALSE(records[1].v6_socket);
}

TEST(SockDiagParse, TimersOtherThanTimeWaitAreNotTimeLeft) {
  inet_diag_msg message{};
  message.idiag_family = AF_INET6;
  message.idiag_timer = 2;
  message.idiag_expires = 1234;
  std::vector<SocketRecord> records;
  parse(Answer().add(TCPDIAG_GETSOCK, &message, sizeof message), &records);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].timer_ms, 0U);
  EXPECT_TRUE(records[0].v6_socket);
}

// Only the timers of retransmission and window probe count answers that did not come.
TEST(SockDiagParse, Retries) {
  inet_diag_msg message{};
  message.idiag_family = AF_INET;
  message.idiag_state = TCP_FIN_WAIT1;
  message.idiag_retrans = 3;
  std::vector<SocketRecord> records;
  for (std::uint8_t timer = 0; timer <= 4; ++timer) {
    message.idiag_timer = timer;
    parse(Answer().add(TCPDIAG_GETSOCK, &message, sizeof message), &records);
  }
  ASSERT_EQ(records.size(), 5U);
  for (std::size_t timer = 0; timer < records.size(); ++timer) {
    EXPECT_EQ(records[timer].retries, timer == 1 || timer == 4 ? 3 : 0) << timer;
  }
}

TEST(SockDiagParse, EveryTruncationIsAnErrorExceptBetweenMessages) {
  const Answer whole = Answer().add_socket().add_socket();
  const std::size_t half = whole.bytes.size() / 2;
  for (std::size_t size = 0; size <= whole.bytes.size(); ++size) {
    // In memory of exactly that size, so that a sanitizer sees any step beyond it.
    Answer cut;
    cut.bytes.assign(whole.bytes.begin(), whole.bytes.begin() + static_cast<std::ptrdiff_t>(size));
    cut.bytes.shrink_to_fit();
    const ParsedBuffer result = parse(cut);
    const bool between = size % half == 0;
    EXPECT_EQ(result.error, between ? 0 : EBADMSG) << size;
    EXPECT_EQ(result.done, !between) << size;
    EXPECT_EQ(result.records, size / half) << size;
  }
}

TEST(SockDiagParse, LengthsThatCannotBeAreErrors) {
  for (const std::uint32_t length : {0U, 1U, 15U, 16U + 71U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    Answer answer = Answer().add_socket();
    std::memcpy(answer.bytes.data(), &length, sizeof length);
    const ParsedBuffer result = parse(answer);
    EXPECT_EQ(result.error, EBADMSG) << length;
    EXPECT_EQ(result.records, 0U) << length;
  }
}

TEST(SockDiagParse, AnErrorMessageEndsTheAnswerWithItsErrno) {
  const ParsedBuffer result =
      parse(Answer().add_socket().add_code(NLMSG_ERROR, -ENOENT).add_socket());
  EXPECT_TRUE(result.done);
  EXPECT_EQ(result.error, ENOENT);
  EXPECT_EQ(result.records, 1U);
}

TEST(SockDiagParse, AnErrorMessageWithoutACodeIsDamage) {
  EXPECT_EQ(parse(Answer().add(NLMSG_ERROR, nullptr, 0)).error, EBADMSG);
}

TEST(SockDiagParse, ACodeThatIsNoErrnoIsDamage) {
  EXPECT_EQ(parse(Answer().add_code(NLMSG_ERROR, INT_MIN)).error, EBADMSG);
  EXPECT_EQ(parse(Answer().add_code(NLMSG_DONE, INT_MIN)).error, EBADMSG);
}

TEST(SockDiagParse, AnAcknowledgementIsNoError) {
  const ParsedBuffer result = parse(Answer().add_code(NLMSG_ERROR, 0).add_socket());
  EXPECT_FALSE(result.done);
  EXPECT_EQ(result.error, 0);
  EXPECT_EQ(result.records, 1U);
}

TEST(SockDiagParse, InterruptionIsSeenOnAnyMessage) {
  EXPECT_TRUE(parse(Answer().add_socket(NLM_F_DUMP_INTR).add_socket()).interrupted);
  EXPECT_TRUE(parse(Answer().add_socket().add_socket(NLM_F_DUMP_INTR)).interrupted);
  const int zero = 0;
  EXPECT_TRUE(parse(Answer().add_socket().add(NLMSG_DONE, &zero, sizeof zero, NLM_F_DUMP_INTR))
                  .interrupted);
}

TEST(SockDiagParse, DoneEndsTheAnswer) {
  for (const Answer& answer : {Answer().add_socket().add_code(NLMSG_DONE, 0).add_socket(),
                               Answer().add_socket().add(NLMSG_DONE, nullptr, 0).add_socket()}) {
    const ParsedBuffer result = parse(answer);
    EXPECT_TRUE(result.done);
    EXPECT_EQ(result.error, 0);
    EXPECT_EQ(result.records, 1U);
  }
}

TEST(SockDiagParse, DoneMayCarryAnError) {
  const ParsedBuffer result = parse(Answer().add_socket().add_code(NLMSG_DONE, -ENOMEM));
  EXPECT_TRUE(result.done);
  EXPECT_EQ(result.error, ENOMEM);
}

TEST(SockDiagParse, OverrunIsLoss) {
  EXPECT_EQ(parse(Answer().add(NLMSG_OVERRUN, nullptr, 0)).error, ENOBUFS);
}

TEST(SockDiagParse, AnotherSequenceIsPassedOver) {
  const ParsedBuffer result =
      parse(Answer().add_socket(NLM_F_DUMP_INTR, kSequence - 1).add_socket());
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(result.records, 1U);
}

TEST(SockDiagParse, DamagedBuffersNeverLeadOutside) {
  std::mt19937 random(1);
  const Answer whole = Answer().add_socket().add_code(NLMSG_DONE, 0).add_socket();
  for (int turn = 0; turn < 20'000; ++turn) {
    Answer damaged = whole;
    for (int i = 0; i < 4; ++i) {
      damaged.bytes[random() % damaged.bytes.size()] = static_cast<unsigned char>(random());
    }
    EXPECT_LE(parse(damaged).records, 2U);
  }
}

}  // namespace
}  // namespace portpool::kernel
