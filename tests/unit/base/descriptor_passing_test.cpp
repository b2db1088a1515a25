#include "base/descriptor_passing.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <string>

namespace portpool::test {
namespace {

struct Channel {
  explicit Channel(int type = SOCK_STREAM) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    near = Descriptor(ends[0]);
    far = Descriptor(ends[1]);
  }
  Descriptor near, far;
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

Descriptor open_null() { return Descriptor(open("/dev/null", O_RDWR | O_CLOEXEC)); }

bool same_file(int a, int b) {
  struct stat of_a {
  }, of_b{};
  return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

TEST(DescriptorPassing, MessageAlone) {
  const Channel channel;
  EXPECT_TRUE(send_with_descriptors(channel.near.get(), bytes_of("hello"), {}));
  std::array<std::byte, 16> buffer{};
  const Received received = receive_with_descriptors(channel.far.get(), buffer);
  EXPECT_EQ(received.bytes, 5U);
  EXPECT_EQ(std::memcmp(buffer.data(), "hello", 5), 0);
  EXPECT_TRUE(received.descriptors.empty());
}

TEST(DescriptorPassing, SeveralDescriptors) {
  const Channel channel;
  const Descriptor null = open_null();
  const int sent[] = {null.get(), channel.near.get(), null.get()};
  EXPECT_TRUE(send_with_descriptors(channel.near.get(), bytes_of("x"), sent));
  std::array<std::byte, 16> buffer{};
  const Received received = receive_with_descriptors(channel.far.get(), buffer);
  EXPECT_EQ(received.bytes, 1U);
  ASSERT_EQ(received.descriptors.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NE(received.descriptors[i].get(), sent[i]);
    EXPECT_TRUE(same_file(received.descriptors[i].get(), sent[i]));
    EXPECT_EQ(fcntl(received.descriptors[i].get(), F_GETFD), FD_CLOEXEC);
  }
}

TEST(DescriptorPassing, AsManyAsTheKernelTakes) {
  const Channel channel;
  const Descriptor null = open_null();
  std::vector<int> many(kMostDescriptors, null.get());
  EXPECT_TRUE(send_with_descriptors(channel.near.get(), bytes_of("x"), many));
  std::array<std::byte, 1> buffer{};
  EXPECT_EQ(receive_with_descriptors(channel.far.get(), buffer).descriptors.size(),
            kMostDescriptors);

  many.push_back(null.get());
  EXPECT_FALSE(send_with_descriptors(channel.near.get(), bytes_of("x"), many));
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(receive_with_descriptors(channel.far.get(), buffer).bytes, 0U);
}

// What a stranger sends along must not stay open here.
TEST(DescriptorPassing, ReceivedOnesAreClosedWithTheResult) {
  const Channel channel;
  int ends[2] = {-1, -1};
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  const int sent[] = {writer.get(), writer.get()};
  ASSERT_TRUE(send_with_descriptors(channel.near.get(), bytes_of("x"), sent));
  writer = Descriptor();
  std::array<std::byte, 16> buffer{};
  ASSERT_EQ(receive_with_descriptors(channel.far.get(), buffer).descriptors.size(), 2U);
  char byte = 0;
  EXPECT_EQ(read(reader.get(), &byte, 1), 0) << "somebody still holds the writing end";
}

TEST(DescriptorPassing, MessageThatIsLongerThanTheBuffer) {
  const Channel channel(SOCK_SEQPACKET);
  const Descriptor null = open_null();
  const int sent[] = {null.get()};
  EXPECT_TRUE(send_with_descriptors(channel.near.get(), bytes_of("hello"), sent));
  std::array<std::byte, 2> buffer{};
  const Received received = receive_with_descriptors(channel.far.get(), buffer);
  EXPECT_EQ(received.bytes, 2U);
  EXPECT_EQ(received.descriptors.size(), 1U);
}

TEST(DescriptorPassing, NobodyAtTheOtherEnd) {
  Channel channel;
  std::array<std::byte, 1> buffer{};
  EXPECT_EQ(receive_with_descriptors(channel.far.get(), buffer).bytes, 0U);
  EXPECT_EQ(errno, EAGAIN);
  channel.near = Descriptor();
  EXPECT_EQ(receive_with_descriptors(channel.far.get(), buffer).bytes, 0U);
  EXPECT_FALSE(send_with_descriptors(channel.far.get(), bytes_of("x"), {}));
  EXPECT_EQ(errno, EPIPE);
}

TEST(DescriptorPassing, NeverWaitsToSend) {
  const Channel channel;
  int flags = fcntl(channel.near.get(), F_GETFL);
  ASSERT_EQ(fcntl(channel.near.get(), F_SETFL, flags & ~O_NONBLOCK), 0);
  const std::string much(1 << 20, 'x');
  while (send_with_descriptors(channel.near.get(), bytes_of(much), {})) {
  }
  EXPECT_FALSE(send_with_descriptors(channel.near.get(), bytes_of("x"), {}));
}

}  // namespace
}  // namespace portpool::test
